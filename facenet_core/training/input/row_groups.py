"""The row groups of a crops artifact: what training reads from storage in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.storage import Manifest, Part, parquet
from facenet_core.training.input.crops import ahead

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
        found = parquet.read_some_row_groups(
            self.part_uris[part], self.part_bytes[part], self.footers[part], numbers, _COLUMNS
        )
        first = pc.equal(found["face_index"], 0)
        if not pc.all(first).as_py():  # a filter copies the pictures
            found = found.filter(first)
        encoded = pc.struct_field(found["image"], "bytes").cast(pa.large_binary())
        return pa.table([found["image_id"], found["identity"], encoded], schema=SCHEMA)

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


def crop_parts(manifest: Manifest) -> list[Part]:
    """The parts that hold crops, in order."""
    return [part for part in manifest.parts if part.folder == "crops"]


def content(manifest: Manifest) -> str:
    """A name that crops with other bytes do not have."""
    digest = storage.fingerprint([part.sha256 for part in crop_parts(manifest)])
    return f"{manifest.fingerprint}-{digest}"


def find(crops_uri: str, manifest: Manifest) -> RowGroups:
    """What the parts' footers say.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    parts = crop_parts(manifest)
    uris = parquet.part_uris(crops_uri, "crops", parts)
    sizes = tuple(part.bytes for part in parts)

    def footer(part: int) -> pq.FileMetaData:
        return parquet.footer(uris[part], sizes[part])

    footers = list(ahead(footer, range(len(uris)), READERS))
    groups = [
        RowGroup(part, number, found.num_rows, found.total_byte_size)
        for part, footer in enumerate(footers)
        for number in range(footer.num_row_groups)
        if (found := footer.row_group(number)).num_rows
    ]
    return RowGroups(tuple(uris), sizes, tuple(footers), tuple(groups))
