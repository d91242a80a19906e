"""Crops as training reads them: at random, from a local memory-mapped file, decoded ahead.

Parquet in object storage is made for reading in order. The crops are copied once, a row group at
a time, into an Arrow file in the cache folder; the operating system keeps in memory what is used
often, and no more than fits. No engine takes part: batches are plain NumPy arrays.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core import records, storage
from facenet_core.cache import cache_folder
from facenet_core.errors import TrainingError
from facenet_core.storage import Manifest
from facenet_core.training import crop_cache

logger = logging.getLogger(__name__)

_SCHEMA = pa.schema(
    {"image_id": pa.string(), "identity": pa.string(), "image": pa.large_binary()},
)
_COLUMNS = ["image_id", "identity", "face_index", "image"]
# Large record batches keep their list short; memory holds one while the file is written.
_BATCH_ROWS = 1024
_BATCH_BYTES = 64 * 2**20

T = TypeVar("T")


@dataclass(frozen=True)
class CropFile:
    """The first faces of a crops artifact, memory-mapped.

    Attributes:
        path: of the Arrow file.
        batches: its record batches (image_id, identity, image); their bytes stay on disk.
        starts: int64 [batches + 1], number of the first row of each, and of all rows.
        identities: names, in order of appearance.
        identity_of_row: int32 [rows], index into `identities`.
    """

    path: Path
    batches: tuple[pa.RecordBatch, ...]
    starts: np.ndarray
    identities: tuple[str, ...]
    identity_of_row: np.ndarray

    def __len__(self) -> int:
        return int(self.starts[-1])

    def image_id(self, row: int) -> str:
        batch, place = self._find(row)
        return batch["image_id"][place].as_py()

    def decode(self, row: int) -> np.ndarray:
        """Pixels uint8 [h, w, 3] RGB of a row.

        Raises:
            TrainingError: the crop cannot be decoded.
        """
        batch, place = self._find(row)
        encoded = np.frombuffer(batch["image"][place].as_buffer(), np.uint8)
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            raise TrainingError(
                f"the crop of {batch['image_id'][place]} cannot be decoded; remove {self.path} "
                "and train again, or run the align stage again"
            )
        return pixels

    def decode_rows(self, rows: Iterable[int], crop_size: tuple[int, int]) -> np.ndarray:
        """Pixels uint8 [n, height, width, 3] RGB of rows.

        Raises:
            TrainingError: a crop cannot be decoded, or has another size than `crop_size`.
        """
        rows = list(rows)
        images = np.empty((len(rows), *crop_size, 3), np.uint8)
        for image, row in zip(images, rows, strict=True):
            pixels = self.decode(row)
            if pixels.shape != image.shape:
                raise TrainingError(
                    f"the crop of {self.image_id(row)} has {pixels.shape[1]}×"
                    f"{pixels.shape[0]} pixels, the first one {crop_size[1]}×{crop_size[0]}; "
                    "training needs crops of one size: align the data set again"
                )
            image[:] = pixels
        return images

    def _find(self, row: int) -> tuple[pa.RecordBatch, int]:
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.batches[number], row - int(self.starts[number])


def open_crops(crops_uri: str, manifest: Manifest, limit: int = 2**62) -> CropFile:
    """The local copy of a crops artifact's first faces, made where there is no whole one yet.

    It is written whole or not at all, and kept for later trainings on the same crops until others
    need its room.

    Args:
        limit: bytes that all copies together may take.

    Raises:
        TrainingError: there is no crop, or no room for the copy.
        ArtifactError: a part is missing or damaged.
        StorageError: the cache folder cannot be written.
    """
    parts = [part for part in manifest.parts if part.name.startswith("crops/")]
    content = storage.fingerprint([part.sha256 for part in parts])
    folder = cache_folder() / "crops"
    path = folder / f"{manifest.fingerprint}-{content}{crop_cache.SUFFIX}"
    crops = _map(path) if path.exists() else None
    if crops is None:
        crop_cache.make_room(folder, sum(part.bytes for part in parts), limit)
        logger.info("copying the crops of %s to %s", crops_uri, path)
        storage.sweep(str(folder))
        with storage.new_file(str(path)) as new:
            _copy(records.part_uris(crops_uri, "crops", parts), new)
        crops = _map(path)
    if crops is None or not len(crops):
        raise TrainingError(f"{crops_uri}: no crops to train on; see the rejects of its alignment")
    crop_cache.touch(path)
    return crops


def require_room(crop_size: tuple[int, int], image_size: int) -> None:
    """Raises TrainingError where crops of (height, width) pixels are smaller than the input."""
    if min(crop_size) < image_size:
        height, width = crop_size
        raise TrainingError(
            f"the crops have {width}×{height} pixels, image_size is {image_size}: align again with "
            f"image_size {image_size} or more, or train with image_size {min(crop_size)}"
        )


def ahead(load: Callable[[int], T], steps: Iterable[int], threads: int) -> Iterator[T]:
    """`load(step)` of each step in order, with `threads` of them at work before they are asked for.

    Close the iterator to end the threads.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        pending: deque[Future[T]] = deque()
        try:
            for step in steps:
                pending.append(pool.submit(load, step))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def decoding_threads(wanted: int | None) -> int:
    """The threads asked for, or one a core."""
    return wanted or os.cpu_count() or 1


def _copy(part_uris: list[str], path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        waiting: list[pa.Table] = []
        for uri in part_uris:
            with closing(records.read_row_groups(uri, _COLUMNS)) as groups:
                for group in groups:
                    waiting.append(_first_faces(group))
                    rows, size = sum(map(len, waiting)), sum(table.nbytes for table in waiting)
                    if rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
                        _write(writer, waiting)
                        waiting = []
        _write(writer, waiting)


def _first_faces(group: pa.Table) -> pa.Table:
    group = group.filter(pc.equal(group["face_index"], 0))
    encoded = pc.struct_field(group["image"], "bytes").cast(pa.large_binary())
    columns = [group["image_id"], group["identity"], encoded]
    return pa.table(columns, schema=_SCHEMA)


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
    batches = tuple(reader.get_batch(number) for number in range(reader.num_record_batches))
    starts = np.cumsum([0, *map(len, batches)])
    number_of: dict[str, int] = {}
    identity_of_row = np.empty(starts[-1], np.int32)
    for start, batch in zip(starts, batches, strict=False):
        numbers = [number_of.setdefault(n, len(number_of)) for n in batch["identity"].to_pylist()]
        identity_of_row[start : start + len(batch)] = numbers
    return CropFile(path, batches, starts, tuple(number_of), identity_of_row)
