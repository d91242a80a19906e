"""Crops straight from storage, for where the disk is too small for a copy.

Row groups are read as they are needed, or a little before where somebody says which will be, and
the latest of them stay in memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.prefetch import ahead
from facenet_core.storage import Artifact, parquet
from facenet_core.training.input.crops import Crops, Pictures, numbered

SCHEMA = pa.schema(
    {"image_id": pa.string(), "identity": pa.string(), "image": pa.large_binary()},
)
_COLUMNS = ["image_id", "identity", "face_index", "image.bytes"]
# Requests under way at a time: an object store answers one after tens of milliseconds.
READERS = 8


@dataclass(frozen=True)
class RowGroup:
    """One row group.

    Attributes:
        part, number: which one of which part, counted from 0.
        rows: crops in it, of all faces.
        bytes: as stored.
    """

    part: int
    number: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class RowGroups:
    """All row groups of a crops artifact, in order; any thread may read them."""

    part_uris: tuple[str, ...]
    part_bytes: tuple[int, ...]
    footers: tuple[pq.FileMetaData, ...]
    groups: tuple[RowGroup, ...]

    def runs(self, size: int) -> list[list[RowGroup]]:
        """All row groups in order; those of a part that follow one another and are no more than
        `size` bytes are together."""
        runs: list[list[RowGroup]] = []
        for group in self.groups:
            run = runs[-1] if runs else []
            fits = sum(one.bytes for one in [*run, group]) <= size
            if run and fits and run[-1].part == group.part:
                run.append(group)
            else:
                runs.append([group])
        return runs

    def read(self, groups: Sequence[RowGroup]) -> pa.Table:
        """The first faces of a run: image_id, identity, and the encoded picture as `image`.

        Raises:
            ArtifactError: the part is missing or damaged.
        """
        part = groups[0].part
        numbers = [group.number for group in groups]
        table = parquet.read_some_row_groups(
            self.part_uris[part], self.part_bytes[part], self.footers[part], numbers, _COLUMNS
        )
        first = pc.equal(table["face_index"], 0)
        if not pc.all(first).as_py():  # a filter copies the pictures
            table = table.filter(first)
        encoded = pc.struct_field(table["image"], "bytes").cast(pa.large_binary())
        return pa.table([table["image_id"], table["identity"], encoded], schema=SCHEMA)

    def people(self, part: int) -> pa.Table:
        """Who is on the crops of a part, and which face it is, without their pictures.

        Raises:
            ArtifactError: the part is missing or damaged.
        """
        footer = self.footers[part]
        return parquet.read_some_row_groups(
            self.part_uris[part],
            self.part_bytes[part],
            footer,
            range(footer.num_row_groups),
            ["identity", "face_index"],
        )


def content(crops: Artifact) -> str:
    """A name that crops with other bytes do not have."""
    digest = storage.fingerprint([part.sha256 for part in crops.parts_in("crops")])
    return f"{crops.fingerprint}-{digest}"


def first_face_ids(part_uris: Sequence[str]) -> Generator[pa.ChunkedArray, None, None]:
    """The image ids of the first faces of each part, of crops or of embeddings, read ahead.

    Raises:
        ArtifactError: a part is missing or damaged.
    """

    def read(part: str) -> pa.ChunkedArray:
        table = parquet.read_table(part, ["image_id", "face_index"])
        return table.filter(pc.equal(table["face_index"], 0))["image_id"]

    return ahead(read, part_uris, READERS)


def find_row_groups(crops: Artifact) -> RowGroups:
    """What the parts' footers say.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    uris = crops.part_uris("crops")
    sizes = tuple(part.bytes for part in crops.parts_in("crops"))

    def footer(part: int) -> pq.FileMetaData:
        return parquet.footer(uris[part], sizes[part])

    footers = list(ahead(footer, range(len(uris)), READERS))
    groups = [
        RowGroup(part, number, group.num_rows, group.total_byte_size)
        for part, footer in enumerate(footers)
        for number in range(footer.num_row_groups)
        if (group := footer.row_group(number)).num_rows
    ]
    return RowGroups(tuple(uris), sizes, tuple(footers), tuple(groups))


# Bytes of row groups in memory where nobody says how many will be used at a time.
_BYTES_IN_MEMORY = 64 * 2**20


class CropStream(Crops):
    """The crops of an artifact, none of them copied. Any thread may read.

    Attributes:
        groups: the row groups that hold rows, in order.
        starts: int64 [groups + 1], number of the first row of each, and of all rows.
    """

    def __init__(self, row_groups: RowGroups, content: str) -> None:
        self.content = content
        people = ahead(row_groups.people, range(len(row_groups.part_uris)), READERS)
        first_faces: list[np.ndarray] = []
        columns: list[pa.Array] = []
        for table in people:
            first = np.asarray(table["face_index"]) == 0
            first_faces.append(first)
            columns.append(table["identity"].filter(pa.array(first)))
        self.identities, self.identity_of_row = numbered(columns)
        self.groups = row_groups.groups
        behind = np.cumsum([group.rows for group in row_groups.groups], dtype=np.int64)
        rows_before = np.concatenate([[0], np.cumsum(np.concatenate([[], *first_faces]))])
        self.starts = rows_before[np.concatenate([[0], behind])].astype(np.int64)
        self._row_groups = row_groups
        self._bytes_in_memory = _BYTES_IN_MEMORY
        self._lock = threading.Lock()
        self._read: OrderedDict[int, Future[_Loaded]] = OrderedDict()
        self._bytes = 0
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="read")

    def keep(self, size: int) -> None:
        """Keep so many bytes of row groups in memory, the latest used."""
        self._bytes_in_memory = max(size, _BYTES_IN_MEMORY)

    def expect(self, groups: Iterable[int]) -> None:
        """Begin to read row groups that will be used soon."""
        for group in groups:
            self._future(group)

    def image_id(self, row: int) -> str:
        group, index = self._locate(row)
        return self._future(group).result().ids[index].as_py()

    def encoded(self, rows: Sequence[int]) -> list[np.ndarray]:
        locations = [self._locate(row) for row in rows]
        # All reading begins before any is waited for.
        futures = {
            group: self._future(group) for group in sorted({group for group, _ in locations})
        }
        loaded = {group: future.result().pictures for group, future in futures.items()}
        return [loaded[group][index] for group, index in locations]

    def _locate(self, row: int) -> tuple[int, int]:
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
            while self._bytes > self._bytes_in_memory and len(self._read) > 1:
                oldest, _ = self._read.popitem(last=False)
                self._bytes -= self.groups[oldest].bytes
            return future

    def _load(self, group: RowGroup) -> _Loaded:
        return _Loaded(self._row_groups.read([group]))


class _Loaded:
    """A row group in memory."""

    def __init__(self, table: pa.Table) -> None:
        whole = table.combine_chunks()
        (batch,) = whole.to_batches()
        self.ids = batch["image_id"]
        self.pictures = Pictures(batch["image"])


def open_stream(crops: Artifact) -> CropStream:
    """The crops of an artifact, without a copy.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    return CropStream(find_row_groups(crops), content(crops))
