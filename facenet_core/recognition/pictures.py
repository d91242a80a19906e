"""Pictures of what was compared or clustered, as PNG."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
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
        tile = _tile(crop)
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
            sheet.paste(_tile(crop), (_GAP + column * (_TILE + _GAP), top + _LINE))
    return png(sheet)


def matches(
    faces: Sequence[tuple[np.ndarray, Sequence[Match]]],
    crops: Mapping[tuple[str, int], np.ndarray],
) -> bytes:
    """A line for each face: its crop uint8 [s, s, 3], then whom it is like, one person in green.

    Args:
        crops: of the gallery's faces, uint8 [s, s, 3], by image_id and face_index; of others the
            names alone are drawn.
    """
    step, columns = _TILE + _GAP, max((len(near) for _, near in faces), default=0)
    height = step + 2 * _LINE
    size = (_GAP + step * (columns + 1), _GAP + height * max(len(faces), 1))
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = load_font(11)
    colors = {True: _SAME, False: _DIFFERENT, None: _UNKNOWN}
    for line, (crop, near) in enumerate(faces):
        top = _GAP + height * line
        sheet.paste(_tile(crop), (_GAP, top))
        for column, match in enumerate(near, start=1):
            left, below = _GAP + step * column, top + _TILE
            right, bottom = left + _TILE - 1, below + 2 * _LINE - 1
            pen.rectangle((left, top, right, bottom), fill=colors[match.same])
            like = crops.get((match.image_id, match.face_index))
            if like is not None:
                sheet.paste(_tile(like), (left, top))
            name = shorten(match.identity or "?", font, _TILE)
            pen.text((left + _TILE // 2, below + 2), name, _INK, font, "ma")
            distance = f"{match.distance:.3f}"
            pen.text((left + _TILE // 2, below + _LINE), distance, _INK, font, "ma")
    return png(sheet)


def _tile(crop: np.ndarray) -> Image.Image:
    return Image.fromarray(crop).resize((_TILE, _TILE), Image.Resampling.BILINEAR)


def _name(path: str, font: Font) -> str:
    """The file's name without extension, cut to a tile's width."""
    return shorten(posixpath.splitext(posixpath.basename(path))[0], font, _TILE)
