"""A sheet of sample pictures from an artifact, as one PNG."""

from __future__ import annotations

import math
from collections.abc import Iterator

from facenet_core import storage
from facenet_core.alignment.samples import SAMPLES, spread
from facenet_core.housekeeping.inspect import PICTURES
from facenet_core.imaging import contact_sheet
from facenet_core.imaging.contact_sheet import Tile
from facenet_core.storage import Artifact, parquet

_LAYOUT = contact_sheet.Layout(side=120, gap=8, line=16, font_size=11, lines=1)
# Plots of models and reports, first the one that says most.
_PLOTS = ("roc.png", "curves.png", "histogram.png")


def picture_sheet(artifact: Artifact, samples: int = SAMPLES) -> bytes | None:
    """Pictures spread evenly over an artifact, with their identities, as a PNG.

    Of a report, its plot. None where an artifact has no pictures, as models.

    Raises:
        ArtifactError: a part is damaged.
    """
    if artifact.stage not in PICTURES:
        plot = next(filter(artifact.has_file, _PLOTS), None)
        return storage.read_bytes(artifact.file_uri(plot)) if plot else None
    tiles = [
        Tile(contact_sheet.thumbnail(data, _LAYOUT.side), [identity], "does not decode")
        for data, identity in _samples(artifact, samples)
    ]
    if not tiles:
        return None
    columns = max(1, min(8, math.ceil(math.sqrt(len(tiles) * 1.6))))
    return contact_sheet.png(contact_sheet.draw(tiles, columns, _LAYOUT))


def _samples(artifact: Artifact, samples: int) -> Iterator[tuple[bytes, str]]:
    """Encoded pictures and identities of evenly spread rows; only their row groups are read."""
    columns = ["image", "identity"]
    for part, numbers in spread(artifact.parts_in(PICTURES[artifact.stage]), samples):
        for row in parquet.read_rows(artifact.file_uri(part.name), numbers, columns):
            yield row["image"]["bytes"], row["identity"]
