"""Small drawing tools shared by the other modules."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

SHIFT = 4
"""Sub-pixel bits of the coordinates given to OpenCV's drawing functions."""

NOISE_SIDE = 512
GRAIN_SPREAD = 32.0


@lru_cache(maxsize=1)
def noise_tile() -> np.ndarray:
    """Standard normal noise float32 [NOISE_SIDE, NOISE_SIDE, 3], to cut pieces out of."""
    tile = np.random.default_rng(0).standard_normal((NOISE_SIDE, NOISE_SIDE, 3), dtype=np.float32)
    tile.setflags(write=False)
    return tile


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Standard normal noise float32 [height, width, 3]: a random piece of the tile."""
    top = int(rng.integers(0, NOISE_SIDE - height + 1))
    left = int(rng.integers(0, NOISE_SIDE - width + 1))
    return noise_tile()[top : top + height, left : left + width]


@lru_cache(maxsize=1)
def _grain_tile() -> np.ndarray:
    """The noise tile as uint8: mean 128, deviation GRAIN_SPREAD."""
    tile = np.clip(noise_tile() * GRAIN_SPREAD + 128.5, 0, 255).astype(np.uint8)
    tile.setflags(write=False)
    return tile


def grain(picture: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [size, size, 3] with sensor noise of `deviation`, as a share of white."""
    size = picture.shape[0]
    top, left = rng.integers(0, NOISE_SIDE - size + 1, 2)
    tile = _grain_tile()[top : top + size, left : left + size]
    strength = deviation * 255.0 / GRAIN_SPREAD
    return cv2.addWeighted(picture, 1.0, tile, strength, -128.0 * strength)


def streaks(
    rng: np.random.Generator, height: int, width: int, cells_y: int, cells_x: int
) -> np.ndarray:
    """Smooth noise float32 [height, width], about cells_y x cells_x bumps of height 1 or so."""
    cells = np.ascontiguousarray(noise(rng, cells_y, cells_x)[..., 0])
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)


def fixed(points: np.ndarray) -> np.ndarray:
    """Float pixels [n, 2] -> int32 with SHIFT sub-pixel bits, as OpenCV's drawing takes them."""
    return np.round(points * (1 << SHIFT)).astype(np.int32)


def fill(image: np.ndarray, points: np.ndarray, colour: tuple[float, ...] | float) -> None:
    """Fill an anti-aliased polygon of float pixels [n, 2], in place."""
    cv2.fillPoly(image, [fixed(points)], colour, cv2.LINE_AA, SHIFT)


def stroke(
    image: np.ndarray,
    points: np.ndarray,
    colour: tuple[float, ...] | float,
    thickness: int,
    closed: bool = False,
) -> None:
    """Draw an anti-aliased line through float pixels [n, 2], in place."""
    cv2.polylines(image, [fixed(points)], closed, colour, thickness, cv2.LINE_AA, SHIFT)


def ellipse_points(
    x: float, y: float, half_width: float, half_height: float, count: int = 24
) -> np.ndarray:
    """Points float [count, 2] around an ellipse."""
    return _circle(count) * (half_width, half_height) + (x, y)


@lru_cache(maxsize=8)
def _circle(count: int) -> np.ndarray:
    turn = np.linspace(0.0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def curve(points: np.ndarray, count: int = 12) -> np.ndarray:
    """A smooth (quadratic Lagrange) curve float [count, 2] through three points [3, 2]."""
    return _parabola(count) @ points


@lru_cache(maxsize=8)
def _parabola(count: int) -> np.ndarray:
    t = np.linspace(0.0, 1.0, count)
    return np.stack([(2 * t - 1) * (t - 1), 4 * t * (1 - t), t * (2 * t - 1)], axis=1)
