"""Many pyramid levels on canvases of one size, so that P-Net always runs at one shape.

Networks are slow on many small images, and on images whose size changes from call to call. P-Net
judges windows of 12x12 pixels and does not see beyond them, so levels can share an image: here
they are packed side by side, and levels larger than a canvas are cut into tiles that overlap by
what the windows need. Each cell of the output is what it would be for its level alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facenet_core.alignment.mtcnn.pyramid import CELL, STRIDE

_OPAQUE = np.array([0, 0, 0, 255], np.uint8).view(np.uint32)


def cells(side: int) -> int:
    """How many windows P-Net judges along a side of so many pixels."""
    return (side + 1) // STRIDE - CELL // STRIDE + 1


@dataclass(frozen=True)
class CanvasTile:
    """A part of a level and where it stands; x and y are even everywhere, as the stride demands.

    Attributes:
        level: number of the level.
        source: y, x of its corner in the level.
        size: height, width.
        target: y, x of its corner in the canvas.
    """

    level: int
    source: tuple[int, int]
    size: tuple[int, int]
    target: tuple[int, int]


@dataclass
class _Shelf:
    """A row of tiles on a canvas, as high as its first one."""

    canvas: int
    y: int
    filled: int  # pixels from the left


def arrange(sizes: Sequence[tuple[int, int]], side: int) -> list[list[CanvasTile]]:
    """Lay out levels of the given ``sizes`` (height, width) on square canvases.

    The tiles stand on shelves, the highest first, each on the first shelf with room for it
    (first-fit decreasing height, Coffman et al., "Performance bounds for level-oriented
    two-dimensional packing algorithms", 1980).

    Args:
        sizes: each side at least 12 pixels.
        side: of a canvas, even.

    Returns:
        For each canvas its tiles. Tiles of a level overlap by 10 pixels, so that every window lies
        in one of them.
    """
    step = side - CELL + STRIDE
    parts = [
        (level, (y, x), (min(side, height - y), min(side, width - x)))
        for level, (height, width) in enumerate(sizes)
        for y in range(0, STRIDE * cells(height), step)
        for x in range(0, STRIDE * cells(width), step)
    ]
    parts.sort(key=lambda part: (-part[2][0], -part[2][1], part[:2]))
    canvases: list[list[CanvasTile]] = []
    heights: list[int] = []  # of each canvas, filled with shelves from the top
    shelves: list[_Shelf] = []
    for level, source, size in parts:
        height, width = (length + length % STRIDE for length in size)
        shelf = next((s for s in shelves if s.filled + width <= side), None)
        if shelf is None:
            canvas = next((c for c, y in enumerate(heights) if y + height <= side), len(heights))
            if canvas == len(heights):
                canvases.append([])
                heights.append(0)
            shelf = _Shelf(canvas, heights[canvas], 0)
            shelves.append(shelf)
            heights[canvas] += height
        canvases[shelf.canvas].append(CanvasTile(level, source, size, (shelf.y, shelf.filled)))
        shelf.filled += width
    return canvases


def paint(
    canvases: Sequence[Sequence[CanvasTile]], levels: Sequence[np.ndarray], side: int
) -> Iterator[np.ndarray]:
    """The canvases, uint8 ``[side, side, 4]``: RGB, and a mask, 255 outside the tiles.

    P-Net needs the mask at the far edge of a tile of odd size, where its first pooling window
    hangs over: what hangs over is not the level's and must not be the maximum.
    """
    for tiles in canvases:
        canvas = np.zeros((side, side, 4), dtype=np.uint8)
        for tile in tiles:
            (top, left), (y, x), (height, width) = tile.source, tile.target, tile.size
            part = levels[tile.level][top : top + height, left : left + width]
            canvas[y : y + height, x : x + width] = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA)
        canvas.view(np.uint32)[...] ^= _OPAQUE  # the tiles, which OpenCV made opaque, become 0
        yield canvas


def passing(
    tiles: Sequence[CanvasTile], output: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells of a canvas whose first value reaches ``threshold``.

    Args:
        output: P-Net's, float32 ``[h, w, c]``.

    Returns:
        Number of the level, int ``[n]``; y, x of the cell in the level's map, int ``[n, 2]``; its
        position in ``output``, int ``[n, 2]``.
    """
    owner = np.full(output.shape[:2], -1, dtype=np.int32)
    for number, tile in enumerate(tiles):
        (y, x), (height, width) = _cell(tile.target), map(cells, tile.size)
        owner[y : y + height, x : x + width] = number
    # NumPy searches arrays of one dimension three times as fast.
    passed = np.flatnonzero(output[:, :, 0] >= threshold)
    positions = np.stack(np.divmod(passed, output.shape[1]), axis=1)
    owners = owner[positions[:, 0], positions[:, 1]]
    positions, owners = positions[owners >= 0], owners[owners >= 0]
    levels = np.array([tile.level for tile in tiles], dtype=np.intp)
    shifts = np.array(
        [np.subtract(_cell(tile.source), _cell(tile.target)) for tile in tiles], dtype=np.intp
    ).reshape(-1, 2)
    return levels[owners], positions + shifts[owners], positions


def find(
    canvases: Sequence[Sequence[CanvasTile]], level: int, cell: tuple[int, int]
) -> tuple[int, int, int]:
    """Number of the canvas, and y, x in P-Net's output for it, of a cell of a level."""
    for number, tiles in enumerate(canvases):
        for tile in tiles:
            if tile.level != level:
                continue
            inside = [c - s for c, s in zip(cell, _cell(tile.source), strict=True)]
            if all(0 <= i < cells(n) for i, n in zip(inside, tile.size, strict=True)):
                y, x = (p + i for p, i in zip(_cell(tile.target), inside, strict=True))
                return number, y, x
    raise LookupError(f"no tile of level {level} holds the cell {cell}")


def _cell(corner: tuple[int, int]) -> tuple[int, int]:
    return corner[0] // STRIDE, corner[1] // STRIDE
