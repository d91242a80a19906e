"""From light to a picture: exposure, colour, film curve, focus, sensor noise."""

from __future__ import annotations

import cv2
import numpy as np

from facenet_core.synthetic_faces.shot import Shot
from facenet_core.synthetic_faces.texture import grain

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
LEVELS = 8192
"""Steps of the film curve for one unit of light; white is there long before BRIGHTEST units."""
BRIGHTEST = 4


def develop(light: np.ndarray, shot: Shot, rng: np.random.Generator) -> np.ndarray:
    """Linear light float32 [size, size, 3] -> uint8 [size, size, 3] sRGB."""
    size = light.shape[0]
    gain = np.float32(LEVELS * 2.0**shot.exposure) * np.asarray(shot.white_balance, np.float32)
    colour = np.float32(shot.saturation) * np.eye(3, dtype=np.float32)
    colour += np.float32(1.0 - shot.saturation) * LUMA
    exposed = cv2.transform(light, colour * gain)
    np.clip(exposed, 0, BRIGHTEST * LEVELS - 1, out=exposed)
    picture = np.take(_film_curve(shot.contrast), exposed.astype(np.uint16))
    if shot.blur * size > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), shot.blur * size)
    if shot.motion != (0.0, 0.0):
        picture = _smear(picture, shot.motion[0] * size, shot.motion[1] * size)
    return grain(picture, shot.noise, rng)


def _film_curve(contrast: float) -> np.ndarray:
    """uint8 [BRIGHTEST * LEVELS]: sRGB's root, then contrast; highlights roll off as on film."""
    tone = np.sqrt(np.arange(BRIGHTEST * LEVELS, dtype=np.float32) * np.float32(1.0 / LEVELS))
    tone = (tone - np.float32(0.45)) * np.float32(contrast) + np.float32(0.45)
    over = np.maximum(tone - np.float32(0.75), 0.0)
    tone -= over * over / (over + np.float32(0.35))
    return np.clip(tone * 255.0, 0, 255).astype(np.uint8)


def _smear(picture: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Camera shake along a straight line of (dx, dy) pixels."""
    reach = int(np.ceil(max(abs(dx), abs(dy)))) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    start = int((reach - dx / 2) * 16), int((reach - dy / 2) * 16)
    end = int((reach + dx / 2) * 16), int((reach + dy / 2) * 16)
    cv2.line(kernel, start, end, 255, 1, cv2.LINE_AA, 4)
    weights = kernel.astype(np.float32)
    return cv2.filter2D(picture, -1, weights / weights.sum(), borderType=cv2.BORDER_REFLECT)
