"""Greedy non-maximum suppression, vectorised, with the reference detector's order of equals.

Near 1 the probabilities of the cascade are rounded to equal float32 values so often that which of
two equals comes first decides what is found. The original sorted with NumPy's quicksort, whose
order of equals differs between processors today (it has variants for AVX2 and AVX-512). The
portable one is therefore spelled out here: results are those of the original, on any machine.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Overlap = Literal["union", "smaller"]

_AT_A_TIME = 256  # bounds the memory: overlap matrices have this many rows
_INSERTION_SORT_BELOW = 17  # NumPy's quicksort sorts parts shorter than this by insertion


def suppress(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, overlap: Overlap
) -> np.ndarray:
    """Keep the best of the boxes that overlap.

    From the highest score down, a box is kept unless its overlap with a kept one exceeds
    ``threshold``.

    Args:
        boxes: ``[n, 4]``, x1, y1, x2, y2 in pixels, both corners inclusive.
        scores: ``[n]``.
        threshold: the largest overlap that two kept boxes may have.
        overlap: the intersection as a share of the ``union`` or of the ``smaller`` box.

    Returns:
        Indices of the kept boxes, by descending score.
    """
    order = rank(scores)
    ranked = boxes[order]
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(order), _AT_A_TIME):
        ranks = np.arange(start, min(start + _AT_A_TIME, len(order)))
        if len(kept):
            clashes = _overlaps(ranked[ranks], ranked[kept], overlap) > threshold
            ranks = ranks[~clashes.any(axis=1)]
        clashes = np.triu(_overlaps(ranked[ranks], ranked[ranks], overlap) > threshold, k=1)
        kept = np.concatenate([kept, ranks[_survivors(clashes)]])
    return order[kept]


def rank(scores: np.ndarray) -> np.ndarray:
    """Indices by descending score; equals as in ``np.argsort(scores)[::-1]`` of a plain NumPy."""
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    # A stable order differs only where there are equals to exchange in a part that is not sorted
    # by insertion, which is stable.
    if len(order) >= _INSERTION_SORT_BELOW and (ascending[1:] == ascending[:-1]).any():
        order = np.array(_quicksorted(scores.tolist()), dtype=np.intp)
    return order[::-1]


def _quicksorted(values: list[float]) -> list[int]:
    """Indices that sort ``values``: quicksort about the median of first, middle and last."""
    order = list(range(len(values)))
    parts = [(0, len(order) - 1)]
    while parts:
        low, high = parts.pop()
        if high - low + 1 < _INSERTION_SORT_BELOW:
            order[low : high + 1] = sorted(order[low : high + 1], key=values.__getitem__)
            continue
        middle = low + (high - low) // 2
        for a, b in ((low, middle), (middle, high), (low, middle)):
            if values[order[b]] < values[order[a]]:
                order[a], order[b] = order[b], order[a]
        pivot = values[order[middle]]
        order[middle], order[high - 1] = order[high - 1], order[middle]
        left, right = low, high - 1
        while True:
            left += 1
            while values[order[left]] < pivot:
                left += 1
            right -= 1
            while pivot < values[order[right]]:
                right -= 1
            if left >= right:
                break
            order[left], order[right] = order[right], order[left]
        order[left], order[high - 1] = order[high - 1], order[left]
        parts += [(low, left - 1), (left + 1, high)]
    return order


def _survivors(clashes: np.ndarray) -> np.ndarray:
    """Which of ``n`` ranked boxes survive, bool ``[n]``, given ``clashes[better, worse]``.

    The survivors are the boxes that no survivor of better rank clashes with. By induction over
    ranks there is one such set, so iterating that sentence until nothing changes finds it, after
    as many rounds as the longest chain of boxes suppressing each other: a handful.
    """
    alive = ~clashes.any(axis=0)
    while True:
        still = ~clashes[alive].any(axis=0)
        if np.array_equal(still, alive):
            return alive
        alive = still


def _overlaps(a: np.ndarray, b: np.ndarray, overlap: Overlap) -> np.ndarray:
    """The overlap of each box of ``a`` ``[n, 4]`` with each of ``b`` ``[m, 4]``: ``[n, m]``."""
    ax1, ay1, ax2, ay2 = a.T[:, :, None]
    bx1, by1, bx2, by2 = b.T[:, None, :]
    width = np.minimum(ax2, bx2) - np.maximum(ax1, bx1) + 1
    height = np.minimum(ay2, by2) - np.maximum(ay1, by1) + 1
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area_a = (ax2 - ax1 + 1) * (ay2 - ay1 + 1)
    area_b = (bx2 - bx1 + 1) * (by2 - by1 + 1)
    whole = area_a + area_b - shared if overlap == "union" else np.minimum(area_a, area_b)
    return shared / whole
