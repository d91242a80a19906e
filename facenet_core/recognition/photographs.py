"""Photographs or crops to embed, one after the other, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from facenet_core import storage
from facenet_core.config import IngestConfig
from facenet_core.datasets.fetch.locate import locate
from facenet_core.datasets.members import Limits
from facenet_core.datasets.rows import HARMLESS, RowMaker, RowRules, Skip
from facenet_core.datasets.sources import nested
from facenet_core.datasets.sources.recognise import recognise
from facenet_core.errors import SourceError
from facenet_core.imaging import formats
from facenet_core.storage import parquet

# A source may be a bucket of any size; what one member unpacks to is bounded by the others.
_NO_TOTAL = 2**62

# Bytes; the default of ingest.
LARGEST_PHOTOGRAPH: int = IngestConfig.model_fields["max_image_bytes"].default

Row = Mapping[str, Any]


def is_crops(uri: str) -> bool:
    """Whether this is a crops artifact."""
    manifest = storage.read_manifest(storage.absolute(uri))
    return manifest is not None and manifest.stage == "align"


def read_photograph(uri: str) -> bytes:
    """The bytes of a file.

    Raises:
        SourceError: there is no such file.
        StorageError: it cannot be read, or a server does not answer.
    """
    try:
        return storage.read_bytes(uri, LARGEST_PHOTOGRAPH)
    except FileNotFoundError:
        raise SourceError(f"{uri}: no such photograph") from None


def read_rows(sources: Sequence[str], root: str) -> Iterator[Row]:
    """The photographs of sources, read as they are needed.

    Args:
        sources: photographs, folders or archives of them, Parquet, raw or crops artifacts.
        root: storage root, where downloads lie.

    Yields:
        Rows with `image_id`, `identity`, `image` {bytes, path}, of crops all their columns; or
        `image_id`, `identity`, `reason`, `detail` for what is no image.

    Raises:
        SourceError: a source is missing, or of an unknown kind.
    """
    for source in sources:
        artifact = storage.find_artifact(storage.absolute(source))
        if artifact is not None:
            yield from _artifact(artifact)
        elif formats.of_name(source) is not None:
            yield _single(source)
        else:
            yield from _unpacked(source, root)


def _artifact(artifact: storage.Artifact) -> Iterator[Row]:
    folder = {"ingest": "images", "align": "crops"}.get(artifact.stage)
    if folder is None:
        raise SourceError(
            f"{artifact.uri}: made by `{artifact.stage}`; expected photographs, or an output of "
            "`ingest` or `align`"
        )
    for part in artifact.part_uris(folder):
        for group in parquet.read_row_groups(part):
            yield from group.to_pylist()


def _single(source: str) -> Row:
    data = read_photograph(source)
    row = {"image_id": source, "identity": ""}
    format = formats.of_file(source, data)
    if format is not None and not format.read:
        detail = formats.unsupported(format)
        return {**row, "reason": "unsupported_format", "detail": detail}
    return {**row, "image": {"bytes": data, "path": source}}


def _unpacked(source: str, root: str) -> Iterator[Row]:
    config = IngestConfig(source=source)
    origin = locate(root, config)
    if any(storage.size(file.uri) is None for file in origin.files):
        raise SourceError(f"{source}: not here yet; fetch it with `facenet ingest {source}`")
    collection = recognise(origin.uri, config)
    rules = RowRules(
        origin.name,
        collection.wrapped,
        config.max_image_pixels,
        identity_pattern=origin.identity_pattern,
    )
    limits = Limits(config.max_image_bytes, _NO_TOTAL, config.max_ratio)
    for row in RowMaker(rules).rows(nested.items(collection, origin.public_uri, limits)):
        if isinstance(row, dict):
            yield row
        elif isinstance(row, Skip) and row.reason not in HARMLESS:
            yield {
                "image_id": row.path,
                "identity": "",
                "reason": row.reason,
                "detail": row.detail,
            }
