"""Crops straight from storage, for where the disk is too small for a copy.

Row groups are read as they are needed, or a little before where somebody says which will be, and
the latest of them stay in memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from facenet_core.storage import Manifest
from facenet_core.training.input import row_groups
from facenet_core.training.input.crop_file import Pictures
from facenet_core.training.input.crops import Crops, ahead, numbered
from facenet_core.training.input.row_groups import RowGroup, RowGroups

# Bytes of row groups in memory where nobody says how many will be used at a time.
_KEPT = 64 * 2**20


class CropStream(Crops):
    """The crops of an artifact, none of them copied. Any thread may read.

    Attributes:
        groups: the row groups that hold rows, in order.
        starts: int64 [groups + 1], number of the first row of each, and of all rows.
    """

    def __init__(self, found: RowGroups, content: str) -> None:
        self.content = content
        people = ahead(found.people, range(len(found.part_uris)), row_groups.READERS)
        first_faces: list[np.ndarray] = []
        columns: list[pa.Array] = []
        for table in people:
            first = np.asarray(table["face_index"]) == 0
            first_faces.append(first)
            columns.append(table["identity"].filter(pa.array(first)))
        self.identities, self.identity_of_row = numbered(columns)
        self.groups = found.groups
        behind = np.cumsum([group.rows for group in found.groups], dtype=np.int64)
        rows_before = np.concatenate([[0], np.cumsum(np.concatenate([[], *first_faces]))])
        self.starts = rows_before[np.concatenate([[0], behind])].astype(np.int64)
        self._found = found
        self._kept = _KEPT
        self._lock = threading.Lock()
        self._read: OrderedDict[int, Future[_Loaded]] = OrderedDict()
        self._bytes = 0
        self._pool = ThreadPoolExecutor(row_groups.READERS, thread_name_prefix="read")

    def keep(self, size: int) -> None:
        """Keep so many bytes of row groups in memory, the latest used."""
        self._kept = max(size, _KEPT)

    def expect(self, groups: Iterable[int]) -> None:
        """Begin to read row groups that will be used soon."""
        for group in groups:
            self._future(group)

    def image_id(self, row: int) -> str:
        group, place = self._find(row)
        return self._future(group).result().ids[place].as_py()

    def encoded(self, rows: Sequence[int]) -> list[np.ndarray]:
        found = [self._find(row) for row in rows]
        # All reading begins before any is waited for.
        futures = {group: self._future(group) for group in sorted({group for group, _ in found})}
        loaded = {group: future.result().pictures for group, future in futures.items()}
        return [loaded[group][place] for group, place in found]

    def _find(self, row: int) -> tuple[int, int]:
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        return group, row - int(self.starts[group])

    def _future(self, group: int) -> Future[_Loaded]:
        """The group, read or being read; it becomes the latest used, and the oldest may go."""
        with self._lock:
            if (future := self._read.get(group)) is not None:
                self._read.move_to_end(group)
                return future
            future = self._pool.submit(self._load, self.groups[group])
            self._read[group] = future
            self._bytes += self.groups[group].bytes
            while self._bytes > self._kept and len(self._read) > 1:
                oldest, _ = self._read.popitem(last=False)
                self._bytes -= self.groups[oldest].bytes
            return future

    def _load(self, group: RowGroup) -> _Loaded:
        return _Loaded(self._found.read([group]))


class _Loaded:
    """A row group in memory."""

    def __init__(self, table: pa.Table) -> None:
        whole = table.combine_chunks()
        (batch,) = whole.to_batches()
        self.ids = batch["image_id"]
        self.pictures = Pictures(batch["image"])


def open_stream(crops_uri: str, manifest: Manifest) -> CropStream:
    """The crops of an artifact, without a copy.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    return CropStream(row_groups.find(crops_uri, manifest), row_groups.content(manifest))
