"""Geometry of the MTCNN cascade: pyramid, proposals, regression, squares, what lies under them.

Boxes are float64 ``[n, 4]`` arrays of x1, y1, x2, y2 in pixels. As in the Matlab code that the
detector began as, both corners belong to the box (its width is ``x2 - x1 + 1``) and the first
pixel of an image has the coordinate 1; ``cut_out`` is the one place that minds the latter.
"""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np

STRIDE = 2  # of P-Net's output, in pixels of the scaled image
CELL = 12  # P-Net's receptive field: the side of the window that one output cell judges

_FLOAT_PIXELS = 1_000_000  # larger images are resampled as they are, not through a float copy


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


def pyramid(image: np.ndarray, scales: list[float]) -> list[np.ndarray]:
    """``image``, uint8 ``[h, w, 3]``, at each of the scales, uint8.

    Averages over areas, as the original's ``imresample``. OpenCV does that a third faster in
    float32 and with the same result once rounded.
    """
    height, width = image.shape[:2]
    small = height * width <= _FLOAT_PIXELS
    pixels = image.astype(np.float32) if small else np.ascontiguousarray(image)
    levels = [_resample(pixels, ceil(height * scale), ceil(width * scale)) for scale in scales]
    return [np.rint(level).astype(np.uint8) for level in levels] if small else levels


def propose(
    probability: np.ndarray, regression: np.ndarray, scale: float, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows of one pyramid level that P-Net takes for faces, in pixels of the full image.

    Args:
        probability: float32 ``[h, w]``, of a face in each cell.
        regression: float32 ``[h, w, 4]``, offsets of the corners as a share of the window's side.
        scale: of the level.
        threshold: the least probability that counts.

    Returns:
        Windows float64 ``[n, 4]``, scores float32 ``[n]``, offsets float32 ``[n, 4]``, in
        column-major order of the cells.
    """
    found = probability >= threshold
    columns, rows = np.nonzero(found.T)
    scores = probability[rows, columns]
    # The original mirrors the regression map where a level has a single candidate, an heirloom of
    # Matlab's handling of vectors. Its results, which models were trained on, contain that.
    read_at = probability.shape[1] - 1 - columns if len(columns) == 1 else columns
    offsets = regression[rows, read_at]
    corner = STRIDE * np.stack([columns, rows], axis=1).astype(np.float64)
    windows = np.hstack([np.fix((corner + 1) / scale), np.fix((corner + CELL) / scale)])
    return windows, scores, offsets


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


def cut_out(image: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The part of ``image`` under a box of whole pixels, black where it reaches over the edge.

    Args:
        image: uint8 ``[h, w, 3]``.
        box: ``[4]``, whole numbers, its second corner not before its first.
        size: side of the result.

    Returns:
        float32 ``[size, size, 3]``, 0 to 255.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = map(int, box)
    left, top, right, bottom = max(x1, 1), max(y1, 1), min(x2, width), min(y2, height)
    part = image[top - 1 : max(bottom, 0), left - 1 : max(right, 0)].astype(np.float32)
    if (left, top, right, bottom) != (x1, y1, x2, y2):
        padded = np.zeros((y2 - y1 + 1, x2 - x1 + 1, 3), dtype=np.float32)
        if part.size:
            padded[top - y1 : bottom - y1 + 1, left - x1 : right - x1 + 1] = part
        part = padded
    return _resample(part, size, size)


def _resample(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
