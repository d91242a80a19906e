"""Contact sheets: what the crops of a data set look like, and the photographs that gave none.

Each is one small PNG of samples spread evenly over the set, so a few row groups are read however
large the set is.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import accumulate, groupby

from PIL import Image, ImageDraw, ImageFont

from facenet_core import storage
from facenet_core.imaging import decode
from facenet_core.storage import Part, parquet

CROPS_SHEET, REJECTS_SHEET = "crops.png", "rejects.png"

_SAMPLES = 40
_COLUMNS = 10
_TILE = 88  # pixels, a side of a picture
_GAP = 6
_LINE = 12  # pixels, height of a line of a caption
_FONT_SIZE = 10
# Their photographs are not touched again: they cannot be decoded, take long, or kill the process.
_NOT_SHOWN = {"undecodable", "unsupported_format", "too_large", "crashed"}


@dataclass(frozen=True)
class _Sample:
    """A picture, or None, and two lines below it."""

    picture: Image.Image | None
    name: str
    remark: str


def draw(uri: str, parts: Sequence[Part], raw_parts: Sequence[str]) -> list[Part]:
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
    drawn = []
    for name, samples in (
        (CROPS_SHEET, list(_crops(uri, crops))),
        (REJECTS_SHEET, list(_rejects(uri, rejects, raw_parts))),
    ):
        if samples:
            storage.write_bytes(storage.join(uri, name), _png(samples))
            drawn.append(storage.describe_file(uri, name))
    return drawn


def _crops(uri: str, parts: Sequence[Part]) -> Iterator[_Sample]:
    for part, numbers in _spread(parts):
        columns = ["image_id", "image", "score"]
        for row in parquet.read_rows(storage.join(uri, part.name), numbers, columns):
            crop = Image.fromarray(decode.decode(row["image"]["bytes"]))
            yield _Sample(crop, row["image_id"], f"{row['score']:.4f}")


def _rejects(uri: str, parts: Sequence[Part], raw_parts: Sequence[str]) -> Iterator[_Sample]:
    raw_of = dict(zip((posixpath.basename(part.name) for part in parts), raw_parts, strict=True))
    for part, numbers in _spread(parts):
        rows = parquet.read_rows(storage.join(uri, part.name), numbers, ["image_id", "reason"])
        raw_part = raw_of[posixpath.basename(part.name)]
        ids = parquet.read_table(raw_part, ["image_id"])["image_id"].to_pylist()
        shown = sorted(ids.index(r["image_id"]) for r in rows if r["reason"] not in _NOT_SHOWN)
        photographs = {
            row["image_id"]: row["image"]["bytes"]
            for row in parquet.read_rows(raw_part, shown, ["image_id", "image"])
        }
        for row in rows:
            picture = _thumbnail(photographs.get(row["image_id"]))
            yield _Sample(picture, row["image_id"], row["reason"])


def _spread(parts: Sequence[Part]) -> Iterator[tuple[Part, list[int]]]:
    """Samples spread evenly over the rows of all parts: parts, and numbers of rows in them."""
    ends = list(accumulate(part.rows for part in parts))
    total = ends[-1] if ends else 0
    count = min(_SAMPLES, total)
    chosen = (((2 * i + 1) * total // (2 * count)) for i in range(count))
    for index, numbers in groupby(chosen, lambda n: next(i for i, e in enumerate(ends) if n < e)):
        first = ends[index] - parts[index].rows
        yield parts[index], [number - first for number in numbers]


def _thumbnail(data: bytes | None) -> Image.Image | None:
    if data is None:
        return None
    try:
        # A tile needs few pixels, and a smaller decode is a faster one.
        photo = decode.decode_photograph(data, scale_above=16 * _TILE**2)
    except decode.UndecodableImage:
        return None
    return Image.fromarray(photo.pixels)


def _png(samples: Sequence[_Sample]) -> bytes:
    columns = min(_COLUMNS, len(samples))
    width, height = _TILE + _GAP, _TILE + 2 * _LINE + _GAP
    lines = -(-len(samples) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, lines * height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, sample in enumerate(samples):
        x = _GAP + number % columns * width
        y = _GAP + number // columns * height
        pen.rectangle((x, y, x + _TILE - 1, y + _TILE - 1), fill="#d8d8d8")
        if sample.picture is None:
            _write(pen, (x + _TILE // 2, y + _TILE // 2), sample.remark, "#555555", "mm")
        else:
            tile = sample.picture.convert("RGB")
            tile.thumbnail((_TILE, _TILE), Image.Resampling.BOX, reducing_gap=2.0)
            left, top = (x + (_TILE - tile.width) // 2, y + (_TILE - tile.height) // 2)
            sheet.paste(tile, (left, top))
        name = posixpath.splitext(posixpath.basename(sample.name))[0]
        _write(pen, (x, y + _TILE + 1), name, "black")
        _write(pen, (x, y + _TILE + 1 + _LINE), sample.remark, "#777777")
    stream = BytesIO()
    # 256 colours are enough to look at, and a third of the bytes.
    sheet.quantize(256).save(stream, "PNG", optimize=True)
    return stream.getvalue()


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(_FONT_SIZE)


def _write(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, color: str, anchor: str = "la"
) -> None:
    """A line of text, cut in the middle to the width of a tile."""
    text = "".join(c if c.isprintable() else "_" for c in text)
    shown, kept = text, len(text)
    while kept > 2 and pen.textlength(shown, _font()) > _TILE:
        kept -= 1
        shown = text[: kept - kept // 2] + "…" + text[len(text) - kept // 2 :]
    pen.text(place, shown, fill=color, font=_font(), anchor=anchor)
