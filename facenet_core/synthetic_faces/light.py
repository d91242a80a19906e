"""Light, and laying lit colours onto a canvas.

Canvases are float32 [size, size, 3] of linear light (sRGB squared, near enough).
"""

from __future__ import annotations

import cv2
import numpy as np

from facenet_core.synthetic_faces.shot import Shot

WRAP = 0.25
"""How far light creeps round an edge: a cheap stand-in for scattering below the skin."""

Colour = tuple[float, float, float]


class Lamp:
    """The light of a shot: one lamp and what the surroundings reflect."""

    def __init__(self, shot: Shot) -> None:
        self.direction = np.asarray(shot.light, np.float32)
        half = self.direction + np.array([0.0, 0.0, 1.0], np.float32)
        self.half = half / np.linalg.norm(half)
        self.colour = np.asarray(shot.light_colour, np.float32) * np.float32(
            1.25 - 0.7 * shot.ambient
        )
        self.ambient = np.asarray(shot.ambient_colour, np.float32) * np.float32(shot.ambient)

    def on(self, normals: np.ndarray) -> np.ndarray:
        """Wrapped Lambert term float32 [...] in 0..1 for unit normals [..., 3]."""
        facing = normals @ self.direction
        return np.maximum((facing + WRAP) / (1.0 + WRAP), 0.0)

    def flat(self, colour: Colour, facing: float = 0.7) -> np.ndarray:
        """Linear colour float32 [3] of a surface turned towards the lamp by `facing`."""
        return np.square(np.asarray(colour, np.float32)) * (self.ambient + facing * self.colour)


def lay(canvas: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Composite linear colour ([3] or [h, w, 3]) through mask uint8 [h, w], in place."""
    left, top, width, height = cv2.boundingRect(mask)
    window = slice(top, top + height), slice(left, left + width)
    if width == 0:
        return
    alpha = mask[window] * np.float32(1.0 / 255.0)
    over = np.empty((height, width, 3), np.float32)
    over[:] = colour if colour.ndim == 1 else colour[window]
    piece = canvas[window]
    piece[:] = cv2.blendLinear(piece, over, 1.0 - alpha, alpha)
