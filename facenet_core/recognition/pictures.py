"""Pictures of what was compared or clustered, as PNG."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_TILE, _GAP, _LINE = 112, 6, 16  # pixels
_PAPER, _INK, _FAINT = "#ffffff", "#222222", "#8a8a8a"
_SAME, _DIFFERENT, _UNKNOWN = "#d5ecd4", "#f4dcd8", "#eeeeee"
_CLUSTERS, _SAMPLES = 40, 8  # shown at most


def matrix(
    crops: Sequence[np.ndarray],
    names: Sequence[str],
    distances: np.ndarray,
    threshold: float | None,
) -> bytes:
    """The crops along both edges of their distance matrix, pairs of one person in green.

    Args:
        crops: n of uint8 [s, s, 3].
        names: shown under them.
        distances: float [n, n].
        threshold: distances below it are one person's.
    """
    count, step = len(crops), _TILE + _GAP
    side = step * (count + 1) + _GAP
    sheet = Image.new("RGB", (side, side + _LINE), _PAPER)
    pen = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(11), ImageFont.load_default(20)
    for number, crop in enumerate(crops):
        tile = Image.fromarray(crop).resize((_TILE, _TILE), Image.Resampling.BILINEAR)
        place = _GAP + step * (number + 1)
        label = short_name(names[number], small, _TILE)
        sheet.paste(tile, (place, _GAP + _LINE))
        pen.text((place + _TILE // 2, 3), label, _INK, small, "ma")
        sheet.paste(tile, (_GAP, place + _LINE))
        for other in range(count):
            left, top = _GAP + step * (other + 1), place + _LINE
            middle = (left + _TILE // 2, top + _TILE // 2)
            if other == number:
                pen.text(middle, "·", _FAINT, large, "mm")
                continue
            found = float(distances[number, other])
            color = _UNKNOWN
            if threshold is not None:
                color = _SAME if found < threshold else _DIFFERENT
            pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=color)
            pen.text(middle, f"{found:.3f}", _INK, large, "mm")
            if threshold is not None:
                word = "same" if found < threshold else "different"
                pen.text((middle[0], middle[1] + 22), word, _INK, small, "mm")
    return _png(sheet)


def clusters(groups: Sequence[tuple[str, Sequence[np.ndarray]]]) -> bytes:
    """A line for each group: its title, and its first crops uint8 [s, s, 3]."""
    shown = groups[:_CLUSTERS]
    width = _GAP + _SAMPLES * (_TILE + _GAP)
    height = _TILE + _GAP + _LINE
    sheet = Image.new("RGB", (width, _GAP + max(len(shown), 1) * height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for line, (title, crops) in enumerate(shown):
        top = _GAP + line * height
        pen.text((_GAP, top), title, _INK, font)
        for column, crop in enumerate(crops[:_SAMPLES]):
            tile = Image.fromarray(crop).resize((_TILE, _TILE), Image.Resampling.BILINEAR)
            sheet.paste(tile, (_GAP + column * (_TILE + _GAP), top + _LINE))
    return _png(sheet)


def short_name(name: str, font: ImageFont.ImageFont, width: int) -> str:
    """The file's name without extension, cut in the middle to so many pixels."""
    text = posixpath.splitext(posixpath.basename(name))[0]
    kept, shown = len(text), text
    while kept > 2 and font.getlength(shown) > width:
        kept -= 1
        shown = text[: kept - kept // 2] + "…" + text[len(text) - kept // 2 :]
    return shown


def _png(sheet: Image.Image) -> bytes:
    stream = BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()
