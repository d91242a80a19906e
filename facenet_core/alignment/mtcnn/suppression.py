"""Greedy non-maximum suppression, vectorised, with the reference detector's order of equals.

Near 1 the probabilities of the cascade are rounded to equal float32 values so often that which of
two equals comes first decides what is found. The original sorted with NumPy's quicksort, whose
order of equals differs between processors today (it has variants for AVX2 and AVX-512). The
portable one is therefore spelled out here: results are those of the original, on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

Overlap = Literal["union", "smaller"]

_AT_A_TIME = 256  # boxes of a group that are compared with one another at a time
_OVERLAPS = (
    2**15
)  # at most so many of several groups are computed at a time: they stay in the cache
_INSERTION_SORT_BELOW = 17  # NumPy's quicksort sorts parts shorter than this by insertion


def suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    threshold: float,
    overlap: Overlap,
) -> np.ndarray:
    """Keep the best of the boxes that overlap, in each group by itself.

    From the highest score down, a box is kept unless its overlap with a kept one of its group
    exceeds ``threshold``.

    Args:
        boxes: ``[n, 4]``, x1, y1, x2, y2 in pixels, both corners inclusive.
        scores: ``[n]``.
        groups: int ``[n]``, ascending.
        threshold: the largest overlap that two kept boxes may have.
        overlap: the intersection as a share of the ``union`` or of the ``smaller`` box.

    Returns:
        Indices of the kept boxes, by group and by descending score.
    """
    order = rank(scores, groups)
    # Past the end of its group, a row holds no number: nothing overlaps it.
    ranked = np.concatenate([boxes[order], np.full((1, 4), np.nan)])
    survivors = np.zeros(len(order), dtype=bool)
    for rows in _blocks(groups):
        within = rows < len(order)
        survivors[rows[within]] = _survivors(ranked[rows], threshold, overlap)[within]
    return order[survivors]


def rank(scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Indices by group (ascending ``[n]``) and by descending score.

    Equals come as in ``np.argsort(scores)[::-1]`` of a plain NumPy on each group.
    """
    order = np.lexsort((scores, groups))
    starts, sizes = _runs(groups)
    # A stable order differs only where there are equals to exchange in a part that is not sorted
    # by insertion, which is stable.
    ascending = scores[order]
    equal = (ascending[1:] == ascending[:-1]) & (groups[1:] == groups[:-1])
    tied = np.unique(groups[1:][equal])
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        if size >= _INSERTION_SORT_BELOW and groups[start] in tied:
            part = slice(start, start + size)
            order[part] = start + np.array(_quicksorted(scores[part].tolist()), dtype=np.intp)
    mirrored = np.repeat(2 * starts + sizes - 1, sizes) - np.arange(len(order))
    return order[mirrored]


def _runs(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each group starts, and how many rows it has."""
    _, starts, sizes = np.unique(groups, return_index=True, return_counts=True)
    return starts, sizes


def _blocks(groups: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers ``[g, m]`` of groups of about one size, so many that g·m·m is bounded.

    m is the largest size; shorter groups are filled up with a number past the last row.
    """
    starts, sizes = _runs(groups)
    by_size = np.argsort(-sizes, kind="stable")
    done = 0
    while done < len(by_size):
        largest = int(sizes[by_size[done]])
        some = by_size[done : done + max(1, _OVERLAPS // largest**2)]
        some = some[2 * sizes[some] + 8 > largest]
        done += len(some)
        within = np.arange(largest)
        rows = starts[some, None] + within
        yield np.where(within < sizes[some, None], rows, len(groups))


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


def _survivors(boxes: np.ndarray, threshold: float, overlap: Overlap) -> np.ndarray:
    """Which of the ranked boxes ``[g, m, 4]`` of g groups survive, bool ``[g, m]``.

    The survivors are the boxes that no survivor of better rank clashes with. By induction over
    ranks there is one such set, so iterating that sentence until nothing changes finds it, after
    as many rounds as the longest chain of boxes suppressing each other: a handful. Ranks are taken
    in parts, which bounds the memory that their overlaps take.
    """
    alive = np.zeros(boxes.shape[:2], dtype=bool)
    for start in range(0, boxes.shape[1], _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        some = boxes[:, part]
        free = np.ones(some.shape[:2], dtype=bool)
        if start:
            better = _overlaps(boxes[:, :start], some, overlap) > threshold
            free = ~np.any(better & alive[:, :start, None], axis=1)
        clashes = np.triu(_overlaps(some, some, overlap) > threshold, k=1)
        still = free & ~clashes.any(axis=1)
        while not np.array_equal(still, alive[:, part]):
            alive[:, part] = still
            still = free & ~(clashes & still[:, :, None]).any(axis=1)
    return alive


def _overlaps(a: np.ndarray, b: np.ndarray, overlap: Overlap) -> np.ndarray:
    """The overlap of each box of ``a`` ``[g, n, 4]`` with each of ``b`` ``[g, m, 4]`` of its group:
    ``[g, n, m]``."""
    ax1, ay1, ax2, ay2 = np.moveaxis(a, -1, 0)[..., :, None]
    bx1, by1, bx2, by2 = np.moveaxis(b, -1, 0)[..., None, :]
    width = np.minimum(ax2, bx2) - np.maximum(ax1, bx1) + 1
    height = np.minimum(ay2, by2) - np.maximum(ay1, by1) + 1
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area_a = (ax2 - ax1 + 1) * (ay2 - ay1 + 1)
    area_b = (bx2 - bx1 + 1) * (by2 - by1 + 1)
    whole = area_a + area_b - shared if overlap == "union" else np.minimum(area_a, area_b)
    return shared / whole
