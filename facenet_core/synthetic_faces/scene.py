"""What is behind the person: a wall, a street, a crowd of coloured shapes out of focus."""

from __future__ import annotations

import cv2
import numpy as np

from facenet_core.synthetic_faces.texture import streaks

COARSE = 96
"""Backgrounds are painted at this side length and enlarged: out of focus, as behind portraits."""


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A cluttered background in linear light, float32 [size, size, 3]."""
    side = COARSE
    low, high = np.sort(_muted(rng, rng.uniform(0.05, 0.9, 2)), axis=0)
    ramp = np.linspace(0.0, 1.0, side, dtype=np.float32)
    across, down = rng.uniform(-0.5, 0.5, 2)
    mix = np.clip(0.5 + across * (ramp[None, :] - 0.5) * 2 + down * (ramp[:, None] - 0.5) * 2, 0, 1)
    picture = (255 * (low + (high - low) * mix[..., None])).astype(np.uint8)
    count = int(rng.integers(0, 26))
    tints = 255 * _muted(rng, rng.uniform(0.02, 0.98, count))
    corners = rng.integers(-10, side + 10, (count, 3, 2), dtype=np.int32)
    kinds = rng.integers(0, 4, count)
    for kind, tint, triangle in zip(kinds, tints.tolist(), corners, strict=True):
        (x, y), end, (first, second) = triangle.tolist()
        if kind == 0:
            far_corner = x + 3 + first % 37, y + 3 + second % 37
            cv2.rectangle(picture, (x, y), far_corner, tint, -1)
        elif kind == 1:
            axes = 2 + first % 14, 2 + second % 14
            cv2.ellipse(picture, (x, y), axes, first + second, 0, 360, tint, -1)
        elif kind == 2:
            cv2.line(picture, (x, y), end, tint, 1 + first % 4, cv2.LINE_AA)
        else:
            cv2.fillPoly(picture, [triangle], tint)
    picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1.0, 3.5)))
    linear = np.square(picture.astype(np.float32) / 255.0)
    linear *= (1.0 + 0.15 * streaks(rng, side, side, 12, 12))[..., None]
    return cv2.resize(np.maximum(linear, 0.0), (size, size), interpolation=cv2.INTER_LINEAR)


def _muted(rng: np.random.Generator, brightness: np.ndarray) -> np.ndarray:
    """Colours [n, 3] in 0..1 around greys of the given brightness [n]; few are vivid."""
    colourfulness = 0.3 * rng.beta(1.0, 3.0, (len(brightness), 1))
    return np.clip(
        brightness[:, None] + colourfulness * rng.normal(0.0, 1.0, (len(brightness), 3)), 0.02, 0.98
    )
