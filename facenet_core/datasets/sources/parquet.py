"""Parquet files with images: Hugging Face data sets, and this project's raw shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.datasets.members import Fingerprint, Item, Limits, Member, Unreadable
from facenet_core.datasets.rows import LONGEST_NAME, clean_path, extension
from facenet_core.datasets.sources import in_child_process
from facenet_core.datasets.sources.fingerprints import file_fingerprint, listing_fingerprint
from facenet_core.errors import ConfigError, SourceError
from facenet_core.storage.parquet import DAMAGED

_IDENTITY_COLUMNS = ("identity", "label", "labels", "person", "celebrity", "name", "target")
_ROWS = 64
_TEXT_BYTES = 2**26  # of the names in a row group, at most, where it has few rows


@dataclass(frozen=True)
class ParquetFiles:
    """One or more Parquet files with a column of pictures and one that says who it is.

    Pictures are a struct {bytes, path}, or plain bytes. An identity is text, or a number: then the
    name that Hugging Face's class labels give it, else the number itself.
    """

    uri: str
    files: tuple[str, ...]
    image_column: str | None = None
    identity_column: str | None = None
    wrapped: bool = False

    def fingerprint(self) -> Fingerprint:
        if len(self.files) == 1:
            return file_fingerprint(self.files[0])
        fingerprints = [(file, file_fingerprint(file)) for file in self.files]
        return listing_fingerprint(
            (file.removeprefix(self.uri), one.bytes, one.sha256) for file, one in fingerprints
        )

    def items(self, limits: Limits) -> Iterator[Item]:
        return in_child_process.iterate(partial(self.read, limits), self.uri)

    def read(self, limits: Limits) -> Iterator[Item | str]:
        """The items, read in this process; the name of each file comes before its items."""
        number = total = 0
        for file in self.files:
            yield file
            with storage.open_input(file) as stream:
                try:
                    options = {"buffer_size": 2**20, "pre_buffer": False}
                    parquet = pq.ParquetFile(stream, **options)
                    columns = _choose(parquet.schema_arrow, self, file)
                    used = [columns.image, columns.identity, columns.id]
                    names = [name for name in used if name is not None]
                    # A text that many rows share is then in memory once.
                    texts = _texts(parquet.schema) & {*names[1:], f"{columns.image}.path"}
                    parquet = pq.ParquetFile(
                        stream, metadata=parquet.metadata, read_dictionary=list(texts), **options
                    )
                    _check_texts(parquet.metadata, texts, file)
                    for batch in parquet.iter_batches(_ROWS, columns=names):
                        batch.validate(full=True)
                        for row in pa.record_batch(
                            [_cut(column) for column in batch.columns], batch.schema.names
                        ).to_pylist():
                            item = _item(row, columns, number, limits)
                            number += 1
                            if isinstance(item, Member):
                                total += len(item.data)
                                limits.check_total(self.uri, total)
                            yield item
                except DAMAGED as error:
                    raise SourceError(f"{file}: damaged, or not a Parquet file: {error}") from error


def _texts(schema: pq.ParquetSchema) -> set[str]:
    """Columns of values of any length; those inside others by their dotted paths."""
    columns = [schema.column(number) for number in range(len(schema))]
    return {column.path for column in columns if column.physical_type == "BYTE_ARRAY"}


def _check_texts(metadata: pq.FileMetaData, texts: set[str], file: str) -> None:
    """Check that paths and identities fit into memory; a text that many rows share counts once.

    Raises:
        SourceError: they do not fit.
    """
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema in texts:
                most = max(_TEXT_BYTES, 4 * LONGEST_NAME * group.num_rows)
                if column.total_uncompressed_size > most:
                    raise SourceError(
                        f"{file}: {column.total_uncompressed_size:,} bytes of "
                        f"{column.path_in_schema} in {group.num_rows:,} rows; a name has at most "
                        f"{LONGEST_NAME:,} characters"
                    )


def _cut(column: pa.Array) -> pa.Array:
    """The column with its texts cut just above the longest name, so that they stay too long."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(column.indices, _cut(column.dictionary))
    if pa.types.is_struct(kind):
        fields = [_cut(column.field(number)) for number in range(kind.num_fields)]
        names = [field.name for field in kind]
        return pa.StructArray.from_arrays(fields, names, mask=column.is_null())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.utf8_slice_codeunits(column, 0, LONGEST_NAME + 1)
    return column


@dataclass(frozen=True)
class Columns:
    """Columns of images, identities and image ids, and the names of class labels."""

    image: str
    identity: str | None
    id: str | None
    labels: Sequence[str]


def _choose(schema: pa.Schema, source: ParquetFiles, file: str) -> Columns:
    """Find the columns.

    Raises:
        ConfigError: no column or several columns fit; the message says how to name one.
    """
    pictures = [field.name for field in schema if _holds_pictures(field.type)]
    image = _named(source.image_column, pictures, schema, file, "image_column")
    if image not in pictures:
        kind = schema.field(image).type
        raise ConfigError(f"{file}: column {image} holds {kind}, no pictures")
    people = [name for name in _IDENTITY_COLUMNS if name in schema.names][:1]
    identity = source.identity_column
    if identity is not None or people:
        identity = _named(identity, people, schema, file, "identity_column")
    return Columns(
        image,
        identity,
        "image_id" if "image_id" in schema.names else None,
        _class_labels(schema, identity),
    )


def _named(
    column: str | None, guesses: list[str], schema: pa.Schema, file: str, option: str
) -> str:
    candidates = [column] if column is not None else guesses
    if len(candidates) == 1 and candidates[0] in schema.names:
        return candidates[0]
    raise ConfigError(
        f"{file}: which column? Its columns are {', '.join(schema.names)}; "
        f"name one with --{option.replace('_', '-')}"
    )


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_labels(schema: pa.Schema, column: str | None) -> Sequence[str]:
    """The names of Hugging Face's ClassLabel, or none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, ValueError, TypeError):
        return ()
    return [str(name) for name in names] if isinstance(names, list) else ()


def _item(row: dict[str, Any], columns: Columns, number: int, limits: Limits) -> Item:
    picture = row[columns.image]
    path = ""
    if isinstance(picture, dict):
        path = picture.get("path") or ""
        picture = picture["bytes"]
    person = _identity(row.get(columns.identity) if columns.identity else None, columns.labels)
    image_id = row[columns.id] if columns.id else None
    name = str(image_id) if image_id is not None else path if "/" in path else None
    if name is None or clean_path(name)[1]:  # a bare file name may not be unique
        suffix = extension(picture) if picture else ""
        name = f"{clean_path(person or '')[0] or 'row'}/{number:08d}{suffix}"
    if picture is None:
        return Unreadable(name, "no_content", "the row has no bytes")
    if len(picture) > limits.image_bytes:
        return Unreadable(name, "too_many_bytes", f"{len(picture)} bytes")
    if columns.identity and not person:
        return Unreadable(name, "no_identity", f"row {number} has no {columns.identity}")
    return Member(name, picture, person)


def _identity(value: Any, labels: Sequence[str]) -> str | None:
    if value is None:
        return None
    if labels and isinstance(value, int):
        return labels[value] if 0 <= value < len(labels) else None
    return str(value)
