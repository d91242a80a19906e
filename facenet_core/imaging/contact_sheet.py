"""Contact sheets: small pictures in rows, with lines of text below them, drawn as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from facenet_core.imaging.decode import UndecodableImage, decode_photograph

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels: side of a picture, gap between two, height of a line of text, font.

    `lines` of text stand below a picture.
    """

    side: int = 88
    gap: int = 6
    line: int = 12
    font_size: int = 10
    lines: int = 2


@dataclass(frozen=True)
class Tile:
    """A picture, with captions below it; without a picture, `instead` is written in its place."""

    picture: Image.Image | None
    captions: Sequence[str]
    instead: str


def thumbnail(data: bytes | None, side: int) -> Image.Image | None:
    """The picture in a file's bytes, with few pixels more than a tile; None if undecodable."""
    if data is None:
        return None
    try:
        # A tile needs few pixels, and a smaller decode is a faster one.
        photo = decode_photograph(data, scale_above=16 * side**2)
    except UndecodableImage:
        return None
    return Image.fromarray(photo.pixels)


def draw(tiles: Sequence[Tile], columns: int, layout: Layout = Layout()) -> Image.Image:
    """The tiles, row by row, with so many columns at most."""
    columns = min(columns, len(tiles))
    side, gap = layout.side, layout.gap
    width, height = side + gap, side + layout.lines * layout.line + gap
    lines = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width + gap, lines * height + gap), "white")
    pen = ImageDraw.Draw(sheet)
    font = load_font(layout.font_size)
    for number, tile in enumerate(tiles):
        x = gap + number % columns * width
        y = gap + number // columns * height
        pen.rectangle((x, y, x + side - 1, y + side - 1), fill="#d8d8d8")
        if tile.picture is None:
            middle = (x + side // 2, y + side // 2)
            pen.text(middle, shorten(tile.instead, font, side), "#555555", font, "mm")
        else:
            picture = tile.picture.convert("RGB")
            picture.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=2.0)
            left, top = (x + (side - picture.width) // 2, y + (side - picture.height) // 2)
            sheet.paste(picture, (left, top))
        for row, caption in enumerate(tile.captions):
            color = "#777777" if row else "black"
            position = (x, y + side + 1 + row * layout.line)
            pen.text(position, shorten(caption, font, side), color, font, "la")
    return sheet


@cache
def load_font(size: int) -> Font:
    return ImageFont.load_default(size)


def shorten(text: str, font: Font, width: int) -> str:
    """A printable line of text, cut in the middle to so many pixels."""
    text = "".join(c if c.isprintable() else "_" for c in text)
    short, length = text, len(text)
    while length > 2 and font.getlength(short) > width:
        length -= 1
        short = text[: length - length // 2] + "…" + text[len(text) - length // 2 :]
    return short


def png(sheet: Image.Image) -> bytes:
    stream = BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()
