"""A sheet of sample pictures from an artifact, as one PNG."""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from facenet_core import storage
from facenet_core.housekeeping.overview import TABLES
from facenet_core.imaging.decode import UndecodableImage, decode_photograph
from facenet_core.storage import Manifest, parquet

SAMPLES = 40
_TILE, _GAP, _LINE = 120, 8, 16  # pixels
_INK, _PAPER, _EMPTY = "#222222", "#ffffff", "#d8d8d8"
_PIXELS = 40_000_000  # larger pictures are not decoded for a thumbnail
# Plots of models and reports, first the one that says most.
_PLOTS = ("roc.png", "curves.png", "histogram.png")


def picture_sheet(uri: str, manifest: Manifest, samples: int = SAMPLES) -> bytes | None:
    """Pictures spread evenly over an artifact, with their identities, as a PNG.

    Of a report, its plot. None where an artifact has no pictures, as models.

    Raises:
        ArtifactError: a part is damaged.
    """
    folder = TABLES.get(manifest.stage)
    if folder is None:
        names = {part.name for part in manifest.parts}
        plot = next((name for name in _PLOTS if name in names), None)
        return storage.read_bytes(storage.join(uri, plot)) if plot else None
    tiles = [(_thumbnail(data), identity) for data, identity in _samples(uri, manifest, samples)]
    return _drawn(tiles) if tiles else None


def _samples(uri: str, manifest: Manifest, samples: int) -> Iterator[tuple[bytes, str]]:
    """Encoded pictures and identities of evenly spread rows; only their row groups are read."""
    parts = [p for p in manifest.parts if p.name.startswith(TABLES[manifest.stage] + "/")]
    total = sum(part.rows for part in parts)
    samples = min(samples, total)
    wanted = [total * number // samples for number in range(samples)]
    first = 0
    for part in parts:
        here = [number - first for number in wanted if first <= number < first + part.rows]
        if here:
            place = storage.join(uri, part.name)
            for row in parquet.read_rows(place, here, ["image", "identity"]):
                yield row["image"]["bytes"], row["identity"]
        first += part.rows


def _thumbnail(data: bytes) -> Image.Image | None:
    """The picture in a tile's size, or None where it does not decode."""
    try:
        # A tile needs few pixels, and a smaller decode is a faster one.
        photo = decode_photograph(data, max_pixels=_PIXELS, scale_above=16 * _TILE**2)
    except UndecodableImage:
        return None
    small = Image.fromarray(photo.pixels)
    small.thumbnail((_TILE, _TILE))
    return small


def _drawn(tiles: list[tuple[Image.Image | None, str]]) -> bytes:
    columns = max(1, min(8, math.ceil(math.sqrt(len(tiles) * 1.6))))
    lines = math.ceil(len(tiles) / columns)
    width, height = _TILE + _GAP, _TILE + _GAP + _LINE
    sheet = Image.new("RGB", (columns * width + _GAP, lines * height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for number, (picture, identity) in enumerate(tiles):
        left = _GAP + number % columns * width
        top = _GAP + number // columns * height
        if picture is None:
            draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_EMPTY)
            draw.text((left + 6, top + _TILE // 2 - 6), "does not decode", _INK, font)
        else:
            sheet.paste(
                picture, (left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2)
            )
        draw.text((left, top + _TILE + 1), _fitting(identity, font), _INK, font)
    stream = BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= _TILE:
        return text
    while text and font.getlength(text + "…") > _TILE:
        text = text[:-1]
    return text + "…"
