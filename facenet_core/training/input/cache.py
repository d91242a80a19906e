"""Room for local copies of crops: of those that were not used for the longest time, none is kept.

A copy that is removed while another training reads it stays readable to that one: its memory map
holds the file until the process ends.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.cache import cache_folder
from facenet_core.errors import TrainingError
from facenet_core.prefetch import ahead
from facenet_core.storage import Artifact
from facenet_core.training.input import stream
from facenet_core.training.input.crops import Crops, Pictures, numbered

logger = logging.getLogger(__name__)

SUFFIX = ".arrow"
GIB = 2**30


_OR_STREAM = "or set read_crops: stream, which copies nothing (not for balanced or triplets)"


def limit(gib: float) -> int:
    """Bytes that all copies together may take, of `crop_cache_gib`."""
    return int(gib * GIB)


def capacity(folder: Path, limit: int) -> int:
    """Bytes of the largest copy that limit and disk have room for, once all others are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}"))
    return min(limit, shutil.disk_usage(folder).free + copies)


def touch(path: Path) -> None:
    """Note that a copy is used now."""
    os.utime(path)


def make_room(folder: Path, needed: int, limit: int) -> None:
    """Remove copies, the longest unused first, until `needed` bytes fit into limit and disk.

    Raises:
        TrainingError: they do not fit even into an empty cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if needed > limit:
        raise TrainingError(
            f"{folder}: the crops take {needed / GIB:.1f} GiB, the cache may hold "
            f"{limit / GIB:g}; raise crop_cache_gib, {_OR_STREAM}"
        )
    copies = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)
    used = sum(path.stat().st_size for path in copies)
    while copies and (used + needed > limit or shutil.disk_usage(folder).free < needed):
        oldest = copies.pop(0)
        logger.info("removing %s, unused for the longest time, to make room", oldest)
        used -= oldest.stat().st_size
        oldest.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"{folder}: the crops take {needed / GIB:.1f} GiB and {free / GIB:.1f} are free on "
            "its disk; make room, set XDG_CACHE_HOME to a folder on a larger one, "
            f"{_OR_STREAM}"
        )


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

    def image_ids(self) -> pa.StringArray:
        """Those of all rows."""
        return pa.concat_arrays(self._ids)

    def image_id(self, row: int) -> str:
        batch, index = self._locate(row)
        return self._ids[batch][index].as_py()

    def encoded(self, rows: Sequence[int]) -> list[np.ndarray]:
        locations = (self._locate(row) for row in rows)
        return [self._pictures[batch][index] for batch, index in locations]

    def _locate(self, row: int) -> tuple[int, int]:
        batch = int(np.searchsorted(self._starts, row, side="right")) - 1
        return batch, row - int(self._starts[batch])


def open_copy(artifact: Artifact, limit: int = 2**62) -> CropFile:
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
    path = path_of(artifact)
    crops = _map(path) if path.exists() else None
    if crops is None:
        make_room(path.parent, needed(artifact), limit)
        logger.info("copying the crops of %s to %s", artifact.uri, path)
        storage.sweep(str(path.parent))
        with storage.new_file(str(path), 0o600) as new:
            _copy(stream.find_row_groups(artifact), new)
        crops = _map(path)
        assert crops is not None
    touch(path)
    return crops


def path_of(crops: Artifact) -> Path:
    """Where the copy lies, if there is one."""
    return cache_folder() / "crops" / f"{stream.content(crops)}{SUFFIX}"


def needed(crops: Artifact) -> int:
    """Bytes that the copy takes, at most."""
    return sum(part.bytes for part in crops.parts_in("crops"))


def _copy(row_groups: stream.RowGroups, path: Path) -> None:
    runs = row_groups.runs(_RUN_BYTES)

    def read(number: int) -> pa.Table:
        return row_groups.read(runs[number])

    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, stream.SCHEMA) as writer,
        closing(ahead(read, range(len(runs)), stream.READERS)) as tables,
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
