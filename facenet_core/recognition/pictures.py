"""Pictures of what was compared or clustered, as PNG."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from facenet_core.imaging.contact_sheet import Font, load_font, png, shorten

if TYPE_CHECKING:
    from facenet_core.recognition.gallery import Match

_TILE, _GAP, _LINE = 112, 6, 16  # pixels
_PAPER, _INK, _FAINT = "#ffffff", "#222222", "#8a8a8a"
_SAME, _DIFFERENT, _UNKNOWN = "#d5ecd4", "#f4dcd8", "#eeeeee"
_CLUSTERS, _SAMPLES = 40, 8  # drawn at most


def matrix(
    crops: Sequence[np.ndarray],
    names: Sequence[str],
    distances: np.ndarray,
    threshold: float | None,
) -> bytes:
    """The crops along both edges of their distance matrix, pairs of one person in green.

    Args:
        crops: n of uint8 [s, s, 3].
        names: written above them.
        distances: float [n, n].
        threshold: distances below it are one person's.
    """
    count, step = len(crops), _TILE + _GAP
    side = step * (count + 1) + _GAP
    sheet = Image.new("RGB", (side, side + _LINE), _PAPER)
    pen = ImageDraw.Draw(sheet)
    small, large = load_font(11), load_font(20)
    for number, crop in enumerate(crops):
        tile = Image.fromarray(crop).resize((_TILE, _TILE), Image.Resampling.BILINEAR)
        position = _GAP + step * (number + 1)
        label = _name(names[number], small)
        sheet.paste(tile, (position, _GAP + _LINE))
        pen.text((position + _TILE // 2, 3), label, _INK, small, "ma")
        sheet.paste(tile, (_GAP, position + _LINE))
        for other in range(count):
            left, top = _GAP + step * (other + 1), position + _LINE
            middle = (left + _TILE // 2, top + _TILE // 2)
            if other == number:
                pen.text(middle, "·", _FAINT, large, "mm")
                continue
            distance = float(distances[number, other])
            color = _UNKNOWN
            if threshold is not None:
                color = _SAME if distance < threshold else _DIFFERENT
            pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=color)
            pen.text(middle, f"{distance:.3f}", _INK, large, "mm")
            if threshold is not None:
                word = "same" if distance < threshold else "different"
                pen.text((middle[0], middle[1] + 22), word, _INK, small, "mm")
    return png(sheet)


def clusters(groups: Sequence[tuple[str, Sequence[np.ndarray]]]) -> bytes:
    """A line for each group: its title, and its first crops uint8 [s, s, 3]."""
    groups = groups[:_CLUSTERS]
    width = _GAP + _SAMPLES * (_TILE + _GAP)
    height = _TILE + _GAP + _LINE
    sheet = Image.new("RGB", (width, _GAP + max(len(groups), 1) * height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = load_font(12)
    for line, (title, crops) in enumerate(groups):
        top = _GAP + line * height
        pen.text((_GAP, top), title, _INK, font)
        for column, crop in enumerate(crops[:_SAMPLES]):
            tile = Image.fromarray(crop).resize((_TILE, _TILE), Image.Resampling.BILINEAR)
            sheet.paste(tile, (_GAP + column * (_TILE + _GAP), top + _LINE))
    return png(sheet)


def matches(faces: Sequence[tuple[np.ndarray, Sequence[Match]]]) -> bytes:
    """A line for each face: its crop uint8 [s, s, 3], then whom it is like, one person in green."""
    step, columns = _TILE + _GAP, max((len(near) for _, near in faces), default=0)
    size = (_GAP + step * (columns + 1), _GAP + step * max(len(faces), 1))
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    small, large = load_font(11), load_font(20)
    colors = {True: _SAME, False: _DIFFERENT, None: _UNKNOWN}
    for line, (crop, near) in enumerate(faces):
        top = _GAP + step * line
        tile = Image.fromarray(crop).resize((_TILE, _TILE), Image.Resampling.BILINEAR)
        sheet.paste(tile, (_GAP, top))
        for column, match in enumerate(near, start=1):
            left = _GAP + step * column
            pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=colors[match.same])
            middle = left + _TILE // 2
            name = shorten(match.identity or "?", small, _TILE)
            pen.text((middle, top + _TILE // 3), name, _INK, small, "mm")
            pen.text((middle, top + _TILE // 2 + 8), f"{match.distance:.3f}", _INK, large, "mm")
    return png(sheet)


def _name(path: str, font: Font) -> str:
    """The file's name without extension, cut to a tile's width."""
    return shorten(posixpath.splitext(posixpath.basename(path))[0], font, _TILE)
