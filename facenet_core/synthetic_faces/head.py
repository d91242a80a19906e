"""The shape of a head, and which point of it each pixel sees.

The surface is an ellipse at every height (half-width and half-depth come from the identity),
pushed outwards by a relief map: nose, brow ridge, cheekbones, chin, hair. A point of the surface is
(angle, y): the angle runs around the vertical axis and is 0 at the tip of the nose. Textures and
relief are images over (angle, y) of TEXTURE_HEIGHT x TEXTURE_WIDTH pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facenet_core.synthetic_faces.identity import Identity

TEXTURE_WIDTH, TEXTURE_HEIGHT = 296, 240
ANGLE_LIMIT = 2.3
Y_TOP, Y_BOTTOM = -2.1, 1.9
U_SCALE = TEXTURE_WIDTH / (2 * ANGLE_LIMIT)
"""Texture pixels per radian."""
V_SCALE = TEXTURE_HEIGHT / (Y_BOTTOM - Y_TOP)
"""Texture pixels per unit of height."""

PROFILE_ROWS = 512
RELIEF_STEPS = 4
SETTLED = 0.15
"""Units of height that the last step may still have moved a point."""
CLOSED = 1e-3
"""The width of the head above its crown and below its chin."""


@dataclass(frozen=True)
class Profile:
    """Half-width and half-depth of the head at PROFILE_ROWS heights from Y_TOP to Y_BOTTOM."""

    width: np.ndarray
    depth: np.ndarray

    def rows(self, y: np.ndarray) -> np.ndarray:
        """The index of each height; heights beyond the ends use the ends."""
        row = (y - Y_TOP) * ((PROFILE_ROWS - 1) / (Y_BOTTOM - Y_TOP))
        return np.minimum(np.maximum(row, 0), PROFILE_ROWS - 1).astype(np.intp)


@dataclass(frozen=True)
class View:
    """How the head stands before the camera: angles in radians, the rest in pixels."""

    yaw: float
    pitch: float
    roll: float
    unit: float
    x: float
    y: float

    def rotation(self) -> np.ndarray:
        """float64 [3, 3] from head to camera axes: yaw, then pitch, then roll."""
        sin_a, cos_a = np.sin(self.yaw), np.cos(self.yaw)
        sin_b, cos_b = np.sin(self.pitch), np.cos(self.pitch)
        sin_c, cos_c = np.sin(self.roll), np.cos(self.roll)
        yaw = np.array([[cos_a, 0, sin_a], [0, 1, 0], [-sin_a, 0, cos_a]])
        pitch = np.array([[1, 0, 0], [0, cos_b, -sin_b], [0, sin_b, cos_b]])
        roll = np.array([[cos_c, -sin_c, 0], [sin_c, cos_c, 0], [0, 0, 1]])
        return roll @ pitch @ yaw

    def project(self, points: np.ndarray) -> np.ndarray:
        """Head points float [n, 3] -> pixels float [n, 2], as through a very long lens."""
        return (points @ self.rotation().T)[:, :2] * self.unit + (self.x, self.y)


@dataclass(frozen=True)
class Visible:
    """What a rectangle of the image sees of the head; arrays are float32 [height, width]."""

    left: int
    top: int
    coverage: np.ndarray
    u: np.ndarray
    v: np.ndarray
    normals: np.ndarray
    """float32 [height, width, 3], unit length, in the camera's frame."""

    @property
    def window(self) -> tuple[slice, slice]:
        """The rectangle as an index into the image."""
        height, width = self.coverage.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def profile(person: Identity) -> Profile:
    """The outline of the bare head."""
    p = person
    heights = np.linspace(Y_TOP, Y_BOTTOM, PROFILE_ROWS)
    widths = (
        (p.crown_y, 0.0),
        (p.crown_y + 0.2, 0.6 * p.temple_width),
        (p.crown_y + 0.6, 0.9 * p.temple_width),
        (-0.5, p.temple_width),
        (0.3, p.cheek_width),
        (0.62 * p.chin_y, p.jaw_width),
        (0.83 * p.chin_y, 0.4 * p.jaw_width + 0.6 * p.chin_width),
        (p.chin_y - 0.1, 0.85 * p.chin_width),
        (p.chin_y, 0.0),
    )
    depths = (
        (p.crown_y, 0.0),
        (p.crown_y + 0.25, 0.86),
        (p.crown_y + 0.7, 1.08),
        (-0.4, 1.17),
        (0.0, 1.12),
        (0.6, 1.14),
        (0.62 * p.chin_y, 1.12),
        (p.chin_y - 0.2, 1.05),
        (p.chin_y, 0.3),
    )
    return Profile(_rounded(heights, widths), _rounded(heights, depths))


def _rounded(heights: np.ndarray, points: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Interpolate squares, so that the ends close like an ellipse, and smooth the corners."""
    at, value = zip(*points, strict=True)
    squares = np.interp(heights, at, np.square(value), left=0.0, right=0.0)
    smooth = cv2.GaussianBlur(squares.reshape(1, -1), (0, 0), 9.0).ravel()
    inside = (heights > at[0]) & (heights < at[-1])
    return np.where(inside, np.sqrt(smooth), CLOSED).astype(np.float32)


def to_texture(shape: Profile, points: np.ndarray) -> np.ndarray:
    """Front-face points float [n, 2] (x, y in units) -> texture pixels float64 [n, 2]."""
    width = np.maximum(shape.width[shape.rows(points[:, 1])], 0.05)
    texels = np.empty(points.shape)
    texels[:, 0] = np.arcsin(np.minimum(np.maximum(points[:, 0] / width, -1.0), 1.0))
    texels[:, 1] = points[:, 1]
    return (texels - (-ANGLE_LIMIT, Y_TOP)) * (U_SCALE, V_SCALE)


def look(shape: Profile, relief: np.ndarray, view: View, size: int) -> Visible:
    """Intersect the ray of every pixel with the head.

    The ellipse is solved in closed form; the height on it (which pitch moves along the ray) and
    the relief are found by fixed-point iteration on a grid of half the resolution.
    """
    reach_x, reach_y = 1.5 * view.unit, 2.15 * view.unit
    left, top = max(0, int(view.x - reach_x)), max(0, int(view.y - reach_y))
    right, bottom = min(size, int(view.x + reach_x)), min(size, int(view.y + 0.95 * reach_y))
    width, height = max(8, right - left), max(8, bottom - top)
    left, top = min(left, size - 8), min(top, size - 8)
    grid = (width + 1) // 2, (height + 1) // 2

    step_x, step_y = width / grid[0], height / grid[1]
    px = (left + (np.arange(grid[0], dtype=np.float32) + 0.5) * step_x - view.x) / view.unit
    py = (top + (np.arange(grid[1], dtype=np.float32) + 0.5) * step_y - view.y) / view.unit
    sin_c, cos_c = np.float32(np.sin(view.roll)), np.float32(np.cos(view.roll))
    x = px[None, :] * cos_c + py[:, None] * sin_c
    y = py[:, None] * cos_c - px[None, :] * sin_c

    sin_a, cos_a = np.float32(np.sin(view.yaw)), np.float32(np.cos(view.yaw))
    sin_b, cos_b = np.float32(np.sin(view.pitch)), np.float32(np.cos(view.pitch))
    inverse_width, inverse_depth = 1.0 / shape.width, 1.0 / shape.depth
    z = np.full_like(x, 0.9)
    bump = np.zeros_like(x)
    for _ in range(RELIEF_STEPS):
        head_y = y * cos_b + z * sin_b
        rows = shape.rows(head_y)
        inv_w, inv_d = inverse_width[rows], inverse_depth[rows]
        inv_w2, inv_d2 = inv_w * inv_w, inv_d * inv_d
        a = sin_a**2 * inv_w2 + cos_a**2 * inv_d2
        b = x * (sin_a * cos_a) * (inv_d2 - inv_w2)
        c = x * x * (cos_a**2 * inv_w2 + sin_a**2 * inv_d2) - (1.0 + bump) ** 2
        discriminant = b * b - a * c
        depth = (np.sqrt(np.maximum(discriminant, 0.0)) - b) / a
        z = 0.5 * (z + np.clip((depth + y * sin_b) / cos_b, -1.5, 1.8))
        head_x = (x * cos_a - depth * sin_a) * inv_w
        head_z = (x * sin_a + depth * cos_a) * inv_d
        # cv2.phase counts from 0 to 2π: look the other way, to have the seam at the back.
        angle = cv2.phase(-head_z, -head_x) - np.float32(np.pi)
        u = (angle + np.float32(ANGLE_LIMIT)) * np.float32(U_SCALE) - np.float32(0.5)
        v = (head_y - np.float32(Y_TOP)) * np.float32(V_SCALE) - np.float32(0.5)
        bump = cv2.remap(relief, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Where the iteration did not settle, or only touched the closed ends, the ray passes by.
    settled = np.abs(y * cos_b + z * sin_b - head_y) < SETTLED
    edge = np.where(
        settled & (inv_w < np.float32(0.99 / CLOSED)), discriminant / a, np.float32(-0.05)
    )
    return _refine((left, top, width, height), edge, z * view.unit, u, v)


def _refine(
    rectangle: tuple[int, int, int, int],
    edge: np.ndarray,
    z: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
) -> Visible:
    """Bring the half-resolution answer to full resolution: coverage, normals, coordinates.

    Args:
        rectangle: left, top, width, height in the image.
    """
    left, top, width, height = rectangle
    shape = (width, height)
    slope = np.hypot(cv2.Sobel(edge, cv2.CV_32F, 1, 0), cv2.Sobel(edge, cv2.CV_32F, 0, 1)) / 8.0
    steps = np.clip(2.0 * edge / np.maximum(slope, 1e-4), -8.0, 8.0)
    distance = cv2.resize(steps, shape, interpolation=cv2.INTER_LINEAR)
    z = cv2.resize(cv2.GaussianBlur(z, (3, 3), 0.6), shape, interpolation=cv2.INTER_LINEAR)
    slope_x = cv2.Sobel(z, cv2.CV_32F, 1, 0, scale=1.0 / 8.0)
    slope_y = cv2.Sobel(z, cv2.CV_32F, 0, 1, scale=1.0 / 8.0)
    normals = np.dstack([-slope_x, -slope_y, np.ones_like(z)])
    normals /= np.sqrt(slope_x * slope_x + slope_y * slope_y + 1.0)[..., None]
    return Visible(
        left=left,
        top=top,
        coverage=np.clip(distance + 0.5, 0.0, 1.0),
        u=cv2.resize(u, shape, interpolation=cv2.INTER_LINEAR),
        v=cv2.resize(v, shape, interpolation=cv2.INTER_LINEAR),
        normals=normals,
    )
