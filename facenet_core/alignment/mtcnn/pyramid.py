"""Geometry of the MTCNN cascade: pyramid, proposals, regression, squares, what lies under them.

Boxes are float64 ``[n, 4]`` arrays of x1, y1, x2, y2 in pixels. As in the Matlab code that the
detector began as, both corners belong to the box (its width is ``x2 - x1 + 1``) and the first
pixel of an image has the coordinate 1; ``cut_out`` is the one place that minds the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

STRIDE = 2  # of P-Net's output, in pixels of the scaled image
CELL = 12  # P-Net's receptive field: the side of the window that one output cell judges

_FLOAT_PIXELS = 1_000_000  # larger images are resampled as they are, not through a float copy
_LONG = 4096  # pixels of a side beyond which the matrices that shrink it are not remembered


def pyramid_scales(height: int, width: int, minsize: int, factor: float) -> list[float]:
    """The scales at which P-Net sees an image, from the largest to the smallest.

    The first makes a face of ``minsize`` pixels as large as P-Net's cell, each next one is
    smaller by ``factor``, as long as the shorter side still holds a cell.
    """
    first = CELL / minsize
    shorter = min(height, width) * first
    scales: list[float] = []
    while shorter >= CELL:
        scales.append(first * factor ** len(scales))
        shorter *= factor
    return scales


def as_floats(image: np.ndarray) -> np.ndarray:
    """``image``, uint8 ``[h, w, 3]``, as float32, unless it is so large that this takes too much.

    OpenCV averages float32 a third faster than bytes, with the same result once rounded.
    """
    return image.astype(np.float32) if _small(image) else np.ascontiguousarray(image)


def pyramid(image: np.ndarray, scales: list[float]) -> list[np.ndarray]:
    """``image``, uint8 ``[h, w, 3]``, at each of the scales, uint8.

    Averages over areas, as the original's ``imresample``.
    """
    height, width = image.shape[:2]
    sizes = [(ceil(height * scale), ceil(width * scale)) for scale in scales]
    if not sizes:
        return []
    columns = cv2.transpose(image).astype(np.float32) if _small(image) else None
    levels = []
    for h, w in sizes:
        # By whole numbers OpenCV shrinks in another way, and may round otherwise.
        if columns is None or (height % h == 0 and width % w == 0):
            levels.append(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA))
        else:
            levels.append(np.rint(_averages(columns, h, w)).astype(np.uint8))
    return levels


def shift_corners(boxes: np.ndarray, offsets: np.ndarray, *, inclusive: bool) -> np.ndarray:
    """Boxes ``[n, 4]`` moved by a network's ``offsets`` ``[n, 4]``, given as shares of their sides.

    ``inclusive`` counts both corners into a side, as the cascade does after R-Net and O-Net but
    not after P-Net.
    """
    sides = boxes[:, 2:] - boxes[:, :2] + float(inclusive)
    return boxes + offsets * np.hstack([sides, sides])


def to_squares(boxes: np.ndarray) -> np.ndarray:
    """Boxes ``[n, 4]`` grown to squares of their longer side about the same centre."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return np.hstack([corner, corner + longer])


def cut_out(image: np.ndarray, box: Sequence[int], out: np.ndarray) -> None:
    """Scale the part of ``image`` under a box to a square; it is black where it reaches over the
    edge.

    Args:
        image: uint8 or float32 ``[h, w, 3]``.
        box: x1, y1, x2, y2, its second corner not before its first.
        out: float32 ``[size, size, 3]``, filled with values from 0 to 255.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    if x1 >= 1 and y1 >= 1 and x2 <= width and y2 <= height:
        part = image[y1 - 1 : y2, x1 - 1 : x2]
    else:
        part = np.zeros((y2 - y1 + 1, x2 - x1 + 1, 3), dtype=np.float32)
        left, top, right, bottom = max(x1, 1), max(y1, 1), min(x2, width), min(y2, height)
        if left <= right and top <= bottom:
            inside = image[top - 1 : bottom, left - 1 : right]
            part[top - y1 : bottom - y1 + 1, left - x1 : right - x1 + 1] = inside
    size = out.shape[0]
    # Not of bytes: OpenCV would round the result.
    part = part.astype(np.float32, copy=False)
    cv2.resize(part, (size, size), dst=out, interpolation=cv2.INTER_AREA)


def _small(image: np.ndarray) -> bool:
    return image.shape[0] * image.shape[1] <= _FLOAT_PIXELS


def _averages(columns: np.ndarray, height: int, width: int) -> np.ndarray:
    """What OpenCV's area averaging makes of an image, in half the time.

    It adds up a row pixel by pixel. Here whole columns are added, and then whole rows: the same
    sums in the same order, so that where a value lies between two bytes it is rounded alike.

    Args:
        columns: the image transposed, float32 ``[w, h, 3]``.
        height, width: of the result, at most h and w.

    Returns:
        float32 ``[height, width, 3]``.
    """
    w, h = columns.shape[:2]
    shares = _shares if max(w, h) <= _LONG else _shares.__wrapped__
    columns = shares(w, width) @ columns.reshape(w, h * 3)
    rows = cv2.transpose(columns.reshape(width, h, 3))
    return (shares(h, height) @ rows.reshape(h, width * 3)).reshape(height, width, 3)


@lru_cache(maxsize=1024)  # 16 for the images of one size; at most 70 MB
def _shares(many: int, few: int) -> sparse.csr_array:
    """The matrix ``[few, many]`` that averages ``many`` values over ``few`` equal stretches."""
    from scipy import sparse

    # In units of which a value is `few` long and a stretch `many`, all ends are integers.
    stretches = many * np.arange(few + 1)
    ends = np.sort(np.concatenate([few * np.arange(many), stretches]))
    lengths, starts = np.diff(ends), ends[:-1]
    weights = (lengths / many).astype(np.float32)
    columns, rows = starts // few, np.searchsorted(starts, stretches)
    return sparse.csr_array(
        (weights, columns.astype(np.int32), rows.astype(np.int32)), shape=(few, many)
    )
