"""Reading and writing shards as Parquet, a row group at a time.

A part's footer carries the fingerprint of the artifact that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.storage import schemas

_FINGERPRINT = b"facenet:fingerprint"

# What pyarrow raises for a damaged footer, page or name.
DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
_REMEDY = "remove it and run the same command again, which remakes it"

ROW_GROUP_ROWS = 64
ROW_GROUP_BYTES = 8 * 2**20


def part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


class PartWriter:
    """Writes one part; it appears under its final name when the `with` block ends well.

    Row groups hold at most `group_rows` rows and about `ROW_GROUP_BYTES` of images, whichever
    is less: readers hold one at a time. The same rows give the same bytes.
    """

    def __init__(
        self, uri: str, schema: pa.Schema, fingerprint: str, group_rows: int = ROW_GROUP_ROWS
    ) -> None:
        self.rows = 0
        self._group_rows = group_rows
        metadata = {**(schema.metadata or {}), _FINGERPRINT: fingerprint.encode()}
        self._schema = schema.with_metadata(metadata)
        self._file = storage.new_file(uri)
        self._buffer: list[Mapping[str, Any]] = []
        self._buffered_bytes = 0

    def __enter__(self) -> Self:
        path: Path = self._file.__enter__()
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            # Compressing encoded pictures takes time and saves nothing.
            compression={
                leaf: "NONE" if leaf == "image.bytes" else "ZSTD"
                for leaf in schemas.leaf_names(self._schema)
            },
            use_dictionary=["identity", "reason"],
            write_page_checksum=True,  # else a flipped bit in a picture goes unnoticed
            write_statistics=["image_id", "identity"],
        )
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row: a mapping with every column of the schema."""
        self._buffer.append(row)
        self._buffered_bytes += len((row.get("image") or {}).get("bytes") or b"")
        self.rows += 1
        if len(self._buffer) >= self._group_rows or self._buffered_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            table = pa.Table.from_pylist(self._buffer, schema=self._schema)
            self._writer.write_table(table, row_group_size=len(self._buffer))
        self._buffer = []
        self._buffered_bytes = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush()
            self._writer.close()
        except BaseException as failure:
            if not self._file.__exit__(type(failure), failure, failure.__traceback__):
                raise
        else:
            self._file.__exit__(kind, error, trace)


def write_table(uri: str, table: pa.Table, fingerprint: str) -> None:
    """Write a small table, such as pairs or embeddings, as one part."""
    metadata = {**(table.schema.metadata or {}), _FINGERPRINT: fingerprint.encode()}
    with storage.new_file(uri) as path:
        table = table.replace_schema_metadata(metadata)
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def part_is_current(uri: str, fingerprint: str) -> bool:
    """Whether a readable part with this fingerprint in its footer is there."""
    try:
        with storage.open_input(uri) as file:
            try:
                metadata = pq.read_schema(file).metadata or {}
            except DAMAGED:
                return False
    except FileNotFoundError:
        return False
    return metadata.get(_FINGERPRINT) == fingerprint.encode()


def describe_part(uri: str, name: str) -> storage.Part:
    """The manifest's entry for the part `name` below `uri`."""
    return storage.describe_file(uri, name, rows=count_rows(storage.join(uri, name)))


def count_rows(uri: str) -> int:
    with _open_part(uri) as parquet:
        return int(parquet.metadata.num_rows)


def read_row_groups(uri: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a part, one in memory at a time.

    Raises:
        ArtifactError: the part is missing or damaged.
    """
    with _open_part(uri, ahead=_read_ahead(columns)) as parquet:
        for number in range(parquet.num_row_groups):
            with _explain_damage(uri, number):
                table = _validated(parquet.read_row_group(number, columns=columns))
            yield table


def read_schema(uri: str) -> pa.Schema:
    """The schema of a part, with the metadata of its footer.

    Raises:
        ArtifactError: the part is missing or damaged.
    """
    with _open_part(uri) as parquet:
        return parquet.schema_arrow


def footer(uri: str, size: int) -> pq.FileMetaData:
    """The footer of a part of `size` bytes: the rows and offsets of its row groups.

    Raises:
        ArtifactError: the part is missing or damaged.
    """
    with _open_part(uri, size=size) as parquet:
        return parquet.metadata


def read_some_row_groups(
    uri: str, size: int, metadata: pq.FileMetaData, numbers: Sequence[int], columns: Sequence[str]
) -> pa.Table:
    """Consecutive row groups of a part whose footer was read before.

    Row groups with pictures are read in one request, others in one request each.

    Raises:
        ArtifactError: the part is missing or damaged.
    """
    span = sum(_span(metadata.row_group(number)) for number in numbers)
    ahead = span if _pictures(columns) else storage.AHEAD
    with _open_part(uri, ahead, size, metadata) as parquet, _explain_damage(uri, numbers[0]):
        # Threads would not read the file in order.
        return _validated(parquet.read_row_groups(numbers, columns=columns, use_threads=False))


def _span(group: pq.RowGroupMetaData) -> int:
    """Bytes from the start of the first page of a row group to the end of its last."""
    starts, ends = [], []
    for number in range(group.num_columns):
        column = group.column(number)
        start = column.dictionary_page_offset or column.data_page_offset
        starts.append(start)
        ends.append(start + column.total_compressed_size)
    return max(ends) - min(starts)


def read_rows(uri: str, numbers: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a part by their ascending numbers. Only the row groups that hold them are read."""
    rows: list[dict[str, Any]] = []
    wanted = list(numbers)
    with _open_part(uri) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            end = first + parquet.metadata.row_group(group).num_rows
            within = [number - first for number in wanted if first <= number < end]
            if within:
                with _explain_damage(uri, group):
                    table = _validated(parquet.read_row_group(group, columns=columns))
                rows += table.take(within).to_pylist()
            first = end
    return rows


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole part. Only for columns that are small, such as ids."""
    with _open_part(uri) as parquet, _explain_damage(uri):
        return _validated(parquet.read(columns=columns))


def _validated(table: pa.Table) -> pa.Table:
    """The table, checked: pyarrow does not validate offsets and text until values are read."""
    table.validate(full=True)
    return table


@contextmanager
def _explain_damage(uri: str, group: int | None = None) -> Iterator[None]:
    """Raise an ArtifactError that names the part if it is missing or cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{uri}: no such part; run its stage again") from None
    except DAMAGED as error:
        damage = "damaged" if group is None else f"row group {group} is damaged"
        raise ArtifactError(f"{uri}: {damage} ({error}); {_REMEDY}") from error


def _read_ahead(columns: Sequence[str] | None) -> int:
    """Bytes to read ahead: with the pictures, all of a part is read."""
    return ROW_GROUP_BYTES if _pictures(columns) else storage.AHEAD


def _pictures(columns: Sequence[str] | None) -> bool:
    return columns is None or any(name.split(".")[0] == "image" for name in columns)


@contextmanager
def _open_part(
    uri: str,
    ahead: int = storage.AHEAD,
    size: int | None = None,
    metadata: pq.FileMetaData | None = None,
) -> Iterator[pq.ParquetFile]:
    """Open a part; a missing or damaged one raises an ArtifactError."""
    with ExitStack() as stack:
        with _explain_damage(uri):
            file = stack.enter_context(storage.open_input(uri, ahead, size))
            parquet = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True)
        yield parquet
