"""The row groups of a crops artifact: what training reads from storage in one go."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facenet_core import records, storage
from facenet_core.storage import Manifest, Part
from facenet_core.training.inputs import ahead

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
    footers: tuple[pq.FileMetaData, ...]
    groups: tuple[RowGroup, ...]

    def read(self, group: RowGroup) -> pa.Table:
        """Its first faces: image_id, identity, and the encoded picture as `image`.

        Raises:
            ArtifactError: the part is missing or damaged.
        """
        uri, footer = self.part_uris[group.part], self.footers[group.part]
        found = records.read_row_group(uri, group.number, _COLUMNS, footer)
        found = found.filter(pc.equal(found["face_index"], 0))
        encoded = pc.struct_field(found["image"], "bytes").cast(pa.large_binary())
        return pa.table([found["image_id"], found["identity"], encoded], schema=SCHEMA)


def crop_parts(manifest: Manifest) -> list[Part]:
    """The parts that hold crops, in order."""
    return [part for part in manifest.parts if part.name.startswith("crops/")]


def content(manifest: Manifest) -> str:
    """A name that crops with other bytes do not have."""
    digest = storage.fingerprint([part.sha256 for part in crop_parts(manifest)])
    return f"{manifest.fingerprint}-{digest}"


def find(crops_uri: str, manifest: Manifest) -> RowGroups:
    """What the parts' footers say.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    uris = records.part_uris(crops_uri, "crops", crop_parts(manifest))
    footers = list(ahead(lambda part: records.footer(uris[part]), range(len(uris)), READERS))
    groups = [
        RowGroup(part, number, found.num_rows, found.total_byte_size)
        for part, footer in enumerate(footers)
        for number in range(footer.num_row_groups)
        if (found := footer.row_group(number)).num_rows
    ]
    return RowGroups(tuple(uris), tuple(footers), tuple(groups))


def identities(part_uri: str) -> pa.Table:
    """Who is on the crops of a part, and which face it is, without their pictures."""
    return records.read_table(part_uri, ["identity", "face_index"])
