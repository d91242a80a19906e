"""Samples of a crops artifact: what its crops look like, and the photographs that gave none.

Each is one small PNG of samples spread evenly over the set, so a few row groups are read however
large the set is.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby

from PIL import Image

from facenet_core import storage
from facenet_core.imaging import contact_sheet, decode
from facenet_core.imaging.contact_sheet import Tile
from facenet_core.storage import Part, parquet

CROPS_SHEET, REJECTS_SHEET = "crops.png", "rejects.png"
SAMPLES = 40

_LAYOUT = contact_sheet.Layout()
_COLUMNS = 10
# Their photographs are not touched again: they cannot be decoded, take long, or kill the process.
_NOT_DRAWN = {"undecodable", "unsupported_format", "too_large", "crashed"}


def draw_sheets(uri: str, parts: Sequence[Part], raw_parts: Sequence[str]) -> list[Part]:
    """Write `crops.png` and `rejects.png` into a crops artifact, each where there is any.

    Args:
        uri: of the artifact.
        parts: its parts `crops/part-…` and `rejects/part-…`.
        raw_parts: URIs of the raw shards that they were made of.

    Returns:
        The manifest's entries for the files written.
    """
    crops = [part for part in parts if part.folder == "crops"]
    rejects = [part for part in parts if part.folder == "rejects"]
    written = []
    for name, tiles in (
        (CROPS_SHEET, list(_crops(uri, crops))),
        (REJECTS_SHEET, list(_rejects(uri, rejects, raw_parts))),
    ):
        if tiles:
            sheet = contact_sheet.draw(tiles, _COLUMNS, _LAYOUT)
            # 256 colours are enough to look at, and a third of the bytes.
            storage.write_bytes(storage.join(uri, name), contact_sheet.png(sheet.quantize(256)))
            written.append(storage.describe_file(uri, name))
    return written


def spread(parts: Sequence[Part], samples: int = SAMPLES) -> Iterator[tuple[Part, list[int]]]:
    """Samples spread evenly over the rows of all parts: parts, and numbers of rows in them."""
    ends = list(accumulate(part.rows for part in parts))
    total = ends[-1] if ends else 0
    count = min(samples, total)
    rows = (((2 * i + 1) * total // (2 * count)) for i in range(count))
    for index, numbers in groupby(rows, lambda n: next(i for i, e in enumerate(ends) if n < e)):
        first = ends[index] - parts[index].rows
        yield parts[index], [number - first for number in numbers]


def _crops(uri: str, parts: Sequence[Part]) -> Iterator[Tile]:
    for part, numbers in spread(parts):
        columns = ["image_id", "image", "score"]
        for row in parquet.read_rows(storage.join(uri, part.name), numbers, columns):
            crop = Image.fromarray(decode.decode(row["image"]["bytes"]))
            yield _tile(crop, row["image_id"], f"{row['score']:.4f}")


def _rejects(uri: str, parts: Sequence[Part], raw_parts: Sequence[str]) -> Iterator[Tile]:
    raw_of = dict(zip((posixpath.basename(part.name) for part in parts), raw_parts, strict=True))
    for part, numbers in spread(parts):
        rows = parquet.read_rows(storage.join(uri, part.name), numbers, ["image_id", "reason"])
        raw_part = raw_of[posixpath.basename(part.name)]
        ids = parquet.read_table(raw_part, ["image_id"])["image_id"].to_pylist()
        drawn = sorted(ids.index(r["image_id"]) for r in rows if r["reason"] not in _NOT_DRAWN)
        photographs = {
            row["image_id"]: row["image"]["bytes"]
            for row in parquet.read_rows(raw_part, drawn, ["image_id", "image"])
        }
        for row in rows:
            picture = contact_sheet.thumbnail(photographs.get(row["image_id"]), _LAYOUT.side)
            yield _tile(picture, row["image_id"], row["reason"])


def _tile(picture: Image.Image | None, image_id: str, remark: str) -> Tile:
    name = posixpath.splitext(posixpath.basename(image_id))[0]
    return Tile(picture, (name, remark), remark)
