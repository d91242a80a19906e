"""Many pyramid levels of many sizes, laid out on canvases of one size.

TensorFlow is slow on small images and slow on images whose size changes from call to call. P-Net
judges windows of 12x12 pixels and does not see beyond them, so levels can share an image: here
they are packed side by side, and levels larger than a canvas are cut into tiles that overlap by
what the windows need. Each cell of the output is what it would be for its level alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from facenet_core.alignment.boxes import CELL, STRIDE


def cells(side: int) -> int:
    """How many windows P-Net judges along a side of so many pixels."""
    return (side + 1) // STRIDE - CELL // STRIDE + 1


@dataclass(frozen=True)
class Tile:
    """A part of a level and its place; x and y are even everywhere, as the stride demands.

    Attributes:
        level: number of the level.
        source: y, x of its corner in the level.
        size: height, width.
        place: y, x of its corner in the canvas.
    """

    level: int
    source: tuple[int, int]
    size: tuple[int, int]
    place: tuple[int, int]


@dataclass
class _Canvas:
    tiles: list[Tile] = field(default_factory=list)
    free: list[tuple[int, int, int, int]] = field(default_factory=list)  # y, x, height, width

    def put(self, level: int, source: tuple[int, int], size: tuple[int, int]) -> bool:
        """Place a tile into the free rectangle that it fills best; False if none holds it.

        The rest of the rectangle is split into two, so that the larger one is as large as can be
        (the guillotine algorithm, see Jylänki, "A Thousand Ways to Pack the Bin", 2010).
        """
        height, width = (side + side % STRIDE for side in size)
        fitting = [r for r in self.free if r[2] >= height and r[3] >= width]
        if not fitting:
            return False
        best = min(fitting, key=lambda r: (min(r[2] - height, r[3] - width), r))
        self.free.remove(best)
        y, x, rest_height, rest_width = best[0], best[1], best[2] - height, best[3] - width
        below_first = best[3] * rest_height > best[2] * rest_width
        self.free.append((y + height, x, rest_height, best[3] if below_first else width))
        self.free.append((y, x + width, height if below_first else best[2], rest_width))
        self.tiles.append(Tile(level, source, size, (y, x)))
        return True


def arrange(sizes: Sequence[tuple[int, int]], side: int) -> list[list[Tile]]:
    """Lay out levels of the given ``sizes`` (height, width) on square canvases.

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
    # Large ones first: the small ones fit in between.
    parts.sort(key=lambda part: (-max(part[2]), -min(part[2]), part[:2]))
    canvases: list[_Canvas] = []
    for part in parts:
        if not any(canvas.put(*part) for canvas in canvases):
            canvases.append(_Canvas(free=[(0, 0, side, side)]))
            canvases[-1].put(*part)
    return [canvas.tiles for canvas in canvases]


def paint(
    canvases: Sequence[Sequence[Tile]], levels: Sequence[np.ndarray], side: int
) -> Iterator[np.ndarray]:
    """The canvases, uint8 ``[side, side, 4]``: RGB, and 1 in the fourth channel outside the tiles.

    P-Net needs the latter at the far edge of a tile of odd size, where its first pooling window
    hangs over: what hangs over is not the level's and must not be the maximum.
    """
    for tiles in canvases:
        canvas = np.zeros((side, side, 4), dtype=np.uint8)
        canvas[:, :, 3] = 1
        for tile in tiles:
            (top, left), (y, x), (height, width) = tile.source, tile.place, tile.size
            part = levels[tile.level][top : top + height, left : left + width]
            canvas[y : y + height, x : x + width, :3] = part
            canvas[y : y + height, x : x + width, 3] = 0
        yield canvas


def collect(tiles: Sequence[Tile], output: np.ndarray, maps: Sequence[np.ndarray]) -> None:
    """Copy P-Net's ``output`` ``[h, w, c]`` for a canvas to the ``maps`` of the levels on it.

    A level's map is ``[cells(height), cells(width), c]``.
    """
    for tile in tiles:
        (top, left), (y, x) = (
            (v // STRIDE for v in corner) for corner in (tile.source, tile.place)
        )
        height, width = map(cells, tile.size)
        part = output[y : y + height, x : x + width]
        maps[tile.level][top : top + height, left : left + width] = part
