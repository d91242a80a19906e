"""Draw a person into a scene, from back to front: hair, body, ears, head, glasses, hat."""

from __future__ import annotations

import cv2
import numpy as np

from facenet_core.synthetic_faces.accessories import draw_glasses, draw_visor, put_on_hat
from facenet_core.synthetic_faces.body import draw_body, draw_ears, draw_hair_behind
from facenet_core.synthetic_faces.features import draw_features
from facenet_core.synthetic_faces.head import (
    TEXTURE_HEIGHT,
    TEXTURE_WIDTH,
    U_SCALE,
    View,
    Visible,
    look,
)
from facenet_core.synthetic_faces.identity import Identity
from facenet_core.synthetic_faces.light import Lamp
from facenet_core.synthetic_faces.shot import Shot
from facenet_core.synthetic_faces.skin import Bare, bare_face, blend

GLOSS_POWER = 16
"""Of the highlight: sweat and grease make skin a blurred mirror."""

SHADOW_STEPS = (2.0, 4.5, 8.0)
"""How far (half texture pixels) towards the lamp the relief is searched for something higher."""


def draw_person(
    canvas: np.ndarray, person: Identity, shot: Shot, view: View, rng: np.random.Generator
) -> None:
    """Draw one person onto the canvas, in place; `rng` decides creases, strands and the like."""
    bare = bare_face(person)
    lamp = Lamp(shot)
    if person.hair_style in ("bob", "long"):
        draw_hair_behind(canvas, person, lamp, view, rng)
    draw_body(canvas, person, shot, lamp, view, rng)
    draw_ears(canvas, person, lamp, view, nearer=False)
    _head(canvas, person, shot, bare, lamp, view)
    if person.hair_style not in ("bob", "long"):
        draw_ears(canvas, person, lamp, view, nearer=True)
    if shot.glasses:
        draw_glasses(canvas, person, lamp, view)
    if shot.hat == "cap":
        draw_visor(canvas, person, shot, lamp, view)


def _head(
    canvas: np.ndarray, person: Identity, shot: Shot, bare: Bare, lamp: Lamp, view: View
) -> None:
    colour = bare.colour.copy()
    draw_features(colour, person, shot, bare.shape)
    relief, cover = bare.relief, bare.hair
    if person.fringe > 0.0:
        colour = blend(colour, bare.colour, bare.hair)
    if shot.hat != "none":
        colour, relief, cover = put_on_hat(colour, person, shot, bare)
    seen = look(bare.shape, relief, view, canvas.shape[0])
    shade = _shade(bare.occlusion, relief, lamp.direction)
    shade = _remap(shade, seen)
    cover = _remap(cover, seen)
    albedo = _remap(colour, seen).astype(np.float32)
    cv2.multiply(albedo, albedo, albedo, 1.0 / 255.0**2)
    lit = lamp.on(seen.normals) * np.minimum(shade, 1.0)
    sky = shade * (0.78 - 0.22 * seen.normals[..., 1])
    gloss = cv2.pow(np.maximum(seen.normals @ lamp.half, 0.0), GLOSS_POWER)
    gloss *= (0.07 + 0.02 * cover) * shade
    light = cv2.transform(cv2.merge([lit, sky]), np.stack([lamp.colour, lamp.ambient], axis=1))
    pixels = albedo * light + cv2.transform(gloss, lamp.colour[:, None])
    piece = canvas[seen.window]
    piece[:] = cv2.blendLinear(piece, pixels, 1.0 - seen.coverage, seen.coverage)


def _remap(texture: np.ndarray, seen: Visible) -> np.ndarray:
    return cv2.remap(texture, seen.u, seen.v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _shade(occlusion: np.ndarray, relief: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Ambient occlusion times the soft shadows that nose, brow and hair throw; float32 [h, w]."""
    relief = cv2.resize(relief, (TEXTURE_WIDTH // 2, TEXTURE_HEIGHT // 2))
    blocked = np.zeros_like(relief)
    for distance in SHADOW_STEPS:
        shift = np.array(
            [[1.0, 0.0, distance * light[0]], [0.0, 1.0, distance * light[1]]], np.float32
        )
        higher = cv2.warpAffine(
            relief, shift, (TEXTURE_WIDTH // 2, TEXTURE_HEIGHT // 2),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        rise = np.float32(1.4 * distance / U_SCALE * max(float(light[2]), 0.15))
        np.maximum(blocked, higher - relief - rise, out=blocked)
    blocked = cv2.GaussianBlur(blocked, (0, 0), 0.9)
    blocked = cv2.resize(blocked, (TEXTURE_WIDTH, TEXTURE_HEIGHT))
    return occlusion * np.maximum(1.0 - 5.0 * blocked, 0.45)
