"""A local copy of crops, memory-mapped: rows at random, from the second reading on from memory.

Parquet in object storage is made for reading in order. The crops are copied once, a few row groups
at a time, into an Arrow file in the cache folder; the operating system keeps in memory what is used
often, and no more than fits.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.cache import cache_folder
from facenet_core.storage import Manifest
from facenet_core.training.input import cache, row_groups
from facenet_core.training.input.crops import Crops, ahead, numbered

logger = logging.getLogger(__name__)

# Large record batches keep their list short; memory holds one while the file is written.
_BATCH_ROWS = 1024
_BATCH_BYTES = 64 * 2**20
# Read in one request.
_RUN_BYTES = 8 * 2**20


class CropFile(Crops):
    """The copy at `path`. Its pictures' bytes stay on disk."""

    def __init__(self, path: Path, batches: Sequence[pa.RecordBatch]) -> None:
        self.path = path
        self.content = path.stem
        self.remedy = f"remove {path} and train again, or run the align stage again"
        self._ids = [batch["image_id"] for batch in batches]
        self._pictures = [Pictures(batch["image"]) for batch in batches]
        self._starts = np.cumsum([0, *map(len, batches)])
        self.identities, self.identity_of_row = numbered(batch["identity"] for batch in batches)

    def image_id(self, row: int) -> str:
        batch, place = self._find(row)
        return self._ids[batch][place].as_py()

    def encoded(self, rows: Sequence[int]) -> list[np.ndarray]:
        found = (self._find(row) for row in rows)
        return [self._pictures[batch][place] for batch, place in found]

    def _find(self, row: int) -> tuple[int, int]:
        batch = int(np.searchsorted(self._starts, row, side="right")) - 1
        return batch, row - int(self._starts[batch])


class Pictures:
    """The encoded pictures of an Arrow column, as NumPy views of its bytes.

    Three times as fast as asking Arrow for one value at a time.
    """

    def __init__(self, column: pa.LargeBinaryArray) -> None:
        _, offsets, values = column.buffers()
        places = np.frombuffer(offsets, np.int64) if offsets else np.zeros(1, np.int64)
        self._offsets = places[column.offset : column.offset + len(column) + 1]
        self._bytes = np.frombuffer(values, np.uint8) if values else np.empty(0, np.uint8)

    def __getitem__(self, place: int) -> np.ndarray:
        return self._bytes[self._offsets[place] : self._offsets[place + 1]]


def open_copy(crops_uri: str, manifest: Manifest, limit: int = 2**62) -> CropFile:
    """The local copy of a crops artifact's first faces, made where there is no whole one yet.

    It is written whole or not at all, and kept for later trainings on the same crops until others
    need its room.

    Args:
        limit: bytes that all copies together may take.

    Raises:
        TrainingError: there is no room for the copy.
        ArtifactError: a part is missing or damaged.
        StorageError: the cache folder cannot be written.
    """
    path = path_of(manifest)
    crops = _map(path) if path.exists() else None
    if crops is None:
        cache.make_room(path.parent, needed(manifest), limit)
        logger.info("copying the crops of %s to %s", crops_uri, path)
        storage.sweep(str(path.parent))
        with storage.new_file(str(path), 0o600) as new:
            _copy(row_groups.find(crops_uri, manifest), new)
        crops = _map(path)
        assert crops is not None
    cache.touch(path)
    return crops


def path_of(manifest: Manifest) -> Path:
    """Where the copy lies, if there is one."""
    return cache_folder() / "crops" / f"{row_groups.content(manifest)}{cache.SUFFIX}"


def needed(manifest: Manifest) -> int:
    """Bytes that the copy takes, at most."""
    return sum(part.bytes for part in row_groups.crop_parts(manifest))


def _copy(found: row_groups.RowGroups, path: Path) -> None:
    runs = found.runs(_RUN_BYTES)

    def read(number: int) -> pa.Table:
        return found.read(runs[number])

    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, row_groups.SCHEMA) as writer,
        closing(ahead(read, range(len(runs)), row_groups.READERS)) as tables,
    ):
        waiting: list[pa.Table] = []
        for table in tables:
            waiting.append(table)
            rows, size = sum(map(len, waiting)), sum(table.nbytes for table in waiting)
            if rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
                _write(writer, waiting)
                waiting = []
        _write(writer, waiting)


def _write(writer: pa.ipc.RecordBatchFileWriter, tables: list[pa.Table]) -> None:
    if tables:
        whole = pa.concat_tables(tables).combine_chunks()
        for batch in whole.to_batches():
            writer.write_batch(batch)


def _map(path: Path) -> CropFile | None:
    """The copy, or None where the file is damaged."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowInvalid, OSError) as error:
        logger.warning("%s: not a whole copy of crops (%s), it is made anew", path, error)
        return None
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    return CropFile(path, batches)
