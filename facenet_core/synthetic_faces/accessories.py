"""Glasses and hats."""

from __future__ import annotations

import numpy as np

from facenet_core.synthetic_faces.head import (
    ANGLE_LIMIT,
    TEXTURE_HEIGHT,
    TEXTURE_WIDTH,
    V_SCALE,
    Y_TOP,
    View,
)
from facenet_core.synthetic_faces.identity import Identity
from facenet_core.synthetic_faces.light import Lamp, lay
from facenet_core.synthetic_faces.shot import Shot
from facenet_core.synthetic_faces.skin import Bare, blend
from facenet_core.synthetic_faces.texture import curve, fill, stroke


def _brim(person: Identity) -> float:
    """The height at which hats sit."""
    return 0.35 * person.hairline_y - 0.42


def put_on_hat(
    colour: np.ndarray, person: Identity, shot: Shot, bare: Bare
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, relief and cover with a hat on: knitted ribs (beanie) or cloth (cap)."""
    brim = _brim(person)
    row = np.arange(TEXTURE_HEIGHT, dtype=np.float32)[:, None] / np.float32(V_SCALE) + Y_TOP
    mask = np.broadcast_to(np.clip(0.5 + (brim - row) / 0.03, 0.0, 1.0), bare.hair.shape)
    turn = np.linspace(-ANGLE_LIMIT, ANGLE_LIMIT, TEXTURE_WIDTH, dtype=np.float32)[None, :]
    ribs = 0.85 + 0.15 * np.cos(60.0 * turn) if shot.hat == "beanie" else 1.0 - 0.1 * (turn > 0)
    cloth = np.asarray(shot.hat_colour, np.float32) * 255 * ribs[..., None]
    cloth = np.broadcast_to(cloth, colour.shape).astype(np.uint8)
    mask = np.ascontiguousarray(mask, np.float32)
    relief = bare.relief * (1.0 - mask) + (0.5 * person.hair_thickness + 0.07) * mask
    return blend(colour, cloth, mask), relief, np.maximum(bare.hair, mask)


def draw_visor(canvas: np.ndarray, person: Identity, shot: Shot, lamp: Lamp, view: View) -> None:
    """The visor of a cap, which sticks out over the forehead."""
    brim = _brim(person)
    turn = np.linspace(-1.2, 1.2, 16)
    width = 1.05 * person.temple_width
    back = np.stack([width * np.sin(turn), np.full(16, brim), 1.2 * np.cos(turn)], axis=1)
    front = np.stack(
        [width * np.sin(turn), brim + 0.1 * np.cos(turn), 1.2 * np.cos(turn) + 0.55 * np.cos(turn)],
        axis=1,
    )
    mask = np.zeros(canvas.shape[:2], np.uint8)
    fill(mask, view.project(np.concatenate([back, front[::-1]])), 255)
    lay(canvas, mask, lamp.flat(shot.hat_colour, 0.4))


def draw_glasses(canvas: np.ndarray, person: Identity, lamp: Lamp, view: View) -> None:
    """Frames before the eyes, temples to the ears, a pale reflection on the lenses."""
    p = person
    size = canvas.shape[0]
    turn = np.linspace(0.0, 2 * np.pi, 36, endpoint=False)
    power = 2.0 / p.glasses_roundness
    lens_x = p.glasses_width * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    lens_y = p.glasses_height * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
    frame = np.zeros((size, size), np.uint8)
    lens = np.zeros((size, size), np.uint8)
    thickness = max(1, round(p.glasses_weight * view.unit))
    depth = 1.24
    top = p.eye_y + 0.03
    for side in (-1, 1):
        x = side * (0.5 * p.eye_distance + 0.5 * p.glasses_width + 0.07) + lens_x
        curved = depth - 0.28 * np.square(x)
        outline = view.project(np.stack([x, top + lens_y, curved], axis=1))
        fill(lens, outline, 30)
        stroke(frame, outline, 255, thickness, closed=True)
        hinge = side * (0.5 * p.eye_distance + 1.5 * p.glasses_width + 0.07)
        if side * np.sin(view.yaw) < 0.25:
            arm = np.array([[hinge, top - 0.08, depth - 0.28 * hinge**2],
                            [side * 1.04 * p.cheek_width, top - 0.06, 0.0]])  # fmt: skip
            stroke(frame, view.project(arm), 255, thickness)
    gap = 0.5 * p.eye_distance - 0.5 * p.glasses_width + 0.07
    bridge = curve(np.array([(-gap, top - 0.03), (0.0, top - 0.07), (gap, top - 0.03)]))
    bridge = np.column_stack([bridge, np.full(len(bridge), depth)])
    stroke(frame, view.project(bridge), 255, thickness)
    lay(canvas, lens, 0.45 * (lamp.colour + lamp.ambient))
    lay(canvas, frame, lamp.flat(p.glasses_colour) + 0.004)
