"""Shards: their Arrow schemas, and reading and writing them as Parquet, a row group at a time.

The schemas carry Hugging Face features in their metadata, so that `datasets` shows the `image`
column as pictures. A part's footer carries the fingerprint of the artifact that it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.errors import ArtifactError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FINGERPRINT = b"facenet:fingerprint"
_FEATURES = b"huggingface"

# pyarrow says so of a damaged footer, page or name, now one way, now the other.
DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
_REMEDY = "remove it and run the same command again, which remakes it"

ROW_GROUP_ROWS = 64
ROW_GROUP_BYTES = 8 * 2**20


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    name = {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
    return {"_type": "Value", "dtype": name}


def _schema(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    features = {name: _feature(kind) for name, kind in columns.items()}
    metadata = {_FEATURES: json.dumps({"info": {"features": features}}).encode()}
    return pa.schema(list(columns.items()), metadata=metadata)


RAW = _schema(
    {"image_id": pa.string(), "identity": pa.string(), "image": IMAGE, "sha256": pa.string()}
)
SKIPPED = _schema({"path": pa.string(), "reason": pa.string(), "detail": pa.string()})
CROPS = _schema(
    {
        "image_id": pa.string(),
        "identity": pa.string(),
        "face_index": pa.int32(),
        "image": IMAGE,
        "box": pa.list_(pa.float32(), 4),
        "landmarks": pa.list_(pa.float32(), 10),
        "score": pa.float32(),
    }
)
REJECTS = _schema(
    {
        "image_id": pa.string(),
        "identity": pa.string(),
        "reason": pa.string(),
        "detail": pa.string(),
    }
)
PAIRS = _schema(
    {
        "fold": pa.int32(),
        "image_id_a": pa.string(),
        "image_id_b": pa.string(),
        "same": pa.bool_(),
        "distance": pa.float32(),
    }
)
EMBEDDINGS = _schema(
    {"image_id": pa.string(), "identity": pa.string(), "embedding": pa.list_(pa.float32())}
)


def part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def part_uris(uri: str, folder: str, parts: Sequence[storage.Part]) -> list[str]:
    """URIs of an artifact's parts in one of its folders (`images`, `crops` …), in order."""
    return [storage.join(uri, part.name) for part in parts if part.folder == folder]


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
            # Encoded pictures do not shrink; trying costs time.
            compression={
                leaf: "NONE" if leaf == "image.bytes" else "ZSTD" for leaf in _leaves(self._schema)
            },
            use_dictionary=["identity", "reason"],
            write_page_checksum=True,  # without, a flipped bit of a picture is just another picture
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
    with _parquet(uri) as parquet:
        return int(parquet.metadata.num_rows)


def read_row_groups(uri: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a part, one in memory at a time.

    Raises:
        ArtifactError: the part is missing or damaged.
    """
    with _parquet(uri, ahead=_ahead(columns)) as parquet:
        for number in range(parquet.num_row_groups):
            with _damage_told(uri, number):
                table = _sound(parquet.read_row_group(number, columns=columns))
            yield table


def footer(uri: str, size: int) -> pq.FileMetaData:
    """What the footer of a part of `size` bytes says of its row groups: rows, where they lie.

    Raises:
        ArtifactError: the part is missing or damaged.
    """
    with _parquet(uri, size=size) as parquet:
        return parquet.metadata


def read_some_row_groups(
    uri: str, size: int, metadata: pq.FileMetaData, numbers: Sequence[int], columns: Sequence[str]
) -> pa.Table:
    """Row groups of a part that follow one another; its footer is known.

    With their pictures they are read in one request, without in one for each.

    Raises:
        ArtifactError: the part is missing or damaged.
    """
    span = sum(_span(metadata.row_group(number)) for number in numbers)
    ahead = span if _pictures(columns) else storage.AHEAD
    with _parquet(uri, ahead, size, metadata) as parquet, _damage_told(uri, numbers[0]):
        # In the order of the file: threads would jump about in it.
        return _sound(parquet.read_row_groups(numbers, columns=columns, use_threads=False))


def _span(group: pq.RowGroupMetaData) -> int:
    """Bytes from the first page of a row group to behind its last."""
    first, behind = [], []
    for number in range(group.num_columns):
        column = group.column(number)
        start = column.dictionary_page_offset or column.data_page_offset
        first.append(start)
        behind.append(start + column.total_compressed_size)
    return max(behind) - min(first)


def read_rows(uri: str, numbers: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a part by their ascending numbers. Only the row groups that hold them are read."""
    rows: list[dict[str, Any]] = []
    wanted = list(numbers)
    with _parquet(uri) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            behind = first + parquet.metadata.row_group(group).num_rows
            here = [number - first for number in wanted if first <= number < behind]
            if here:
                with _damage_told(uri, group):
                    table = _sound(parquet.read_row_group(group, columns=columns))
                rows += table.take(here).to_pylist()
            first = behind
    return rows


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole part. Only for columns that are small, such as ids."""
    with _parquet(uri) as parquet, _damage_told(uri):
        return _sound(parquet.read(columns=columns))


def _sound(table: pa.Table) -> pa.Table:
    """The table, its offsets and text checked: pyarrow believes a file until values are used."""
    table.validate(full=True)
    return table


@contextmanager
def _damage_told(uri: str, group: int | None = None) -> Iterator[None]:
    """Say which part it is that is not there or cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{uri}: no such part; run its stage again") from None
    except DAMAGED as error:
        place = "damaged" if group is None else f"row group {group} is damaged"
        raise ArtifactError(f"{uri}: {place} ({error}); {_REMEDY}") from error


def _ahead(columns: Sequence[str] | None) -> int:
    """Who reads the pictures reads all of a part."""
    return ROW_GROUP_BYTES if _pictures(columns) else storage.AHEAD


def _pictures(columns: Sequence[str] | None) -> bool:
    return columns is None or any(name.split(".")[0] == "image" for name in columns)


@contextmanager
def _parquet(
    uri: str,
    ahead: int = storage.AHEAD,
    size: int | None = None,
    metadata: pq.FileMetaData | None = None,
) -> Iterator[pq.ParquetFile]:
    """An open part; a missing or damaged one is an ArtifactError."""
    with ExitStack() as opened:
        with _damage_told(uri):
            file = opened.enter_context(storage.open_input(uri, ahead, size))
            parquet = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True)
        yield parquet


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns' leaves, as compression settings want them."""
    leaves = []
    for column in schema:
        if pa.types.is_struct(column.type):
            leaves += [f"{column.name}.{child.name}" for child in column.type]
        elif pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            leaves.append(f"{column.name}.list.element")
        else:
            leaves.append(column.name)
    return leaves
