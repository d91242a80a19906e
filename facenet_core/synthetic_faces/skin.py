"""What of a face never changes: relief, skin, beard and hair, as maps over the head's surface."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from facenet_core.synthetic_faces.head import (
    ANGLE_LIMIT,
    TEXTURE_HEIGHT,
    TEXTURE_WIDTH,
    Y_BOTTOM,
    Y_TOP,
    Profile,
    profile,
    to_texture,
)
from facenet_core.synthetic_faces.identity import Identity
from facenet_core.synthetic_faces.texture import ellipse_points, fill, noise, streaks

CACHED_PEOPLE = 64
"""People whose maps are kept; data sets are drawn person by person, so a few would do."""

GRID = (TEXTURE_WIDTH // 2, TEXTURE_HEIGHT // 2)
"""Smooth maps are computed at half the texture's resolution."""


@dataclass(frozen=True)
class Bare:
    """A face without features that move.

    relief: float32 [h, w], how far the surface is pushed out, relative to the radius.
    occlusion: float32 [h, w], how much ambient light reaches the surface, about 0.6..1.1.
    colour: uint8 [h, w, 3], sRGB.
    hair: float32 [h, w], 1 where hair covers the skin.
    """

    shape: Profile
    relief: np.ndarray
    occlusion: np.ndarray
    colour: np.ndarray
    hair: np.ndarray


@lru_cache(maxsize=CACHED_PEOPLE)
def bare_face(person: Identity) -> Bare:
    """The maps of one person; the caller must not write into them."""
    shape = profile(person)
    grid = angle, x, y = _grid(shape)
    rng = np.random.default_rng(person.texture_seed)
    hair = _hair_mask(person, angle, y, streaks(rng, GRID[1], GRID[0], 6, 48))
    flesh = _flesh(person, x, y) * (np.abs(angle) < 1.57)
    thickness = person.hair_thickness * cv2.GaussianBlur(hair, (0, 0), 4.5)
    relief = _full(flesh + thickness)
    cavity = flesh - cv2.GaussianBlur(flesh, (0, 0), 7.0)
    occlusion = _full(np.clip(1.0 + 2.4 * cavity, 0.6, 1.1))
    hair = np.clip(_full(hair), 0.0, 1.0)
    strands = _strands(person, rng)
    colour = _paint(person, shape, grid, strands, rng)
    colour = blend(colour, strands, hair)
    return Bare(shape, relief, occlusion, colour, hair)


def blend(under: np.ndarray, over: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Mix two uint8 images [h, w, 3] by alpha float32 [h, w] in 0..1."""
    return cv2.blendLinear(under, over, 1.0 - alpha, alpha)


def _strands(person: Identity, rng: np.random.Generator) -> np.ndarray:
    """Strands falling from the parting, uint8 [h, w, 3]."""
    strands = streaks(rng, GRID[1], TEXTURE_WIDTH, 7, 150)
    strands += 0.8 * streaks(rng, GRID[1], TEXTURE_WIDTH, 4, 40)
    # The further down, the further to the side.
    slant = 80.0 * person.parting / GRID[1]
    shear = np.array([[1.0, slant, -0.5 * slant * GRID[1]], [0.0, 1.0, 0.0]])
    strands = cv2.warpAffine(
        strands, shear, (TEXTURE_WIDTH, GRID[1]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    tone = np.clip(1.0 + 0.3 * strands, 0.35, 2.0)
    tint = np.asarray(person.hair_colour, np.float32)[:, None] * np.float32(255)
    return _full(np.clip(cv2.transform(tone, tint), 0, 255)).astype(np.uint8)


def _grid(shape: Profile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angle, x and y of every cell of the half-resolution maps, float32."""
    angle = np.linspace(-ANGLE_LIMIT, ANGLE_LIMIT, GRID[0], dtype=np.float32)[None, :]
    y = np.linspace(Y_TOP, Y_BOTTOM, GRID[1], dtype=np.float32)[:, None]
    x = shape.width[shape.rows(y)] * np.sin(angle)
    return np.broadcast_to(angle, x.shape), x, np.broadcast_to(y, x.shape)


def _full(half: np.ndarray) -> np.ndarray:
    return cv2.resize(
        half.astype(np.float32), (TEXTURE_WIDTH, TEXTURE_HEIGHT), interpolation=cv2.INTER_LINEAR
    )


def _hill(x: np.ndarray, y: np.ndarray, x0: float, y0: float, sx: float, sy: float) -> np.ndarray:
    """A Gaussian hill of height 1, mirrored to both sides of the face where x0 is not 0."""
    across = (np.abs(x) - x0) if x0 else x
    return np.exp(-0.5 * ((across / sx) ** 2 + ((y - y0) / sy) ** 2))


def _step(value: np.ndarray, softness: float) -> np.ndarray:
    """0 well below zero, 1 well above, over about `softness`."""
    return np.clip(0.5 + value / softness, 0.0, 1.0)


def _flesh(person: Identity, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The relief of the face without hair."""
    p = person
    along = np.clip((y - p.eye_y) / (p.nose_length - p.eye_y), -0.6, 1.5)
    ridge = np.interp(
        along,
        (-0.6, -0.15, 0.25, 0.75, 0.93, 1.05, 1.2),
        (0.0, 0.55 * p.bridge_height, p.bridge_height,
         0.75 * p.nose_height + 0.25 * p.bridge_height, p.nose_height, 0.6 * p.nose_height, 0.0),
    )  # fmt: skip
    half_width = np.interp(along, (0.0, 0.5, 1.0), (p.bridge_width, 1.1 * p.bridge_width, 0.12))
    relief = 0.85 * ridge * np.exp(-0.5 * (x / half_width) ** 2)
    relief += 0.07 * _hill(x, y, 0.0, p.nose_length - 0.06, p.tip_size, 0.09)
    relief += 0.13 * _hill(x, y, 0.72 * p.nose_width, p.nose_length, 0.3 * p.nose_width, 0.075)
    relief -= p.eye_depth * _hill(x, y, p.eye_distance - 0.03, p.eye_y - 0.04, 0.19, 0.13)
    relief += 0.045 * _hill(x, y, p.eye_distance, p.eye_y, 0.12, 0.09)
    relief += p.brow_ridge * _hill(x, y, 0.4, p.brow_y + 0.02, 0.28, 0.09)
    relief += p.cheekbone * _hill(x, y, 0.62, 0.4, 0.22, 0.16)
    relief -= 0.06 * p.age * _hill(x, y, 0.62, 0.85, 0.17, 0.2)
    relief += 0.05 * _hill(x, y, 0.0, p.mouth_y, 1.1 * p.mouth_width, 0.2)
    relief += 0.035 * _hill(x, y, 0.0, p.mouth_y - 0.6 * p.upper_lip, 0.6 * p.mouth_width, 0.05)
    relief += 0.045 * _hill(x, y, 0.0, p.mouth_y + 0.6 * p.lower_lip, 0.55 * p.mouth_width, 0.06)
    relief -= 0.05 * _hill(x, y, 0.0, p.mouth_y + p.lower_lip + 0.1, 0.3, 0.06)
    relief += p.chin_bump * _hill(x, y, 0.0, p.chin_y - 0.17, 0.2, 0.12)
    return relief


def _hair_mask(
    person: Identity, angle: np.ndarray, y: np.ndarray, ragged: np.ndarray
) -> np.ndarray:
    p = person
    if p.hair_style == "bald":
        return np.zeros_like(y)
    turn = angle[0]
    away = np.abs(turn)
    side = {"cropped": -0.1, "short": 0.12, "bob": 1.05, "long": 2.5}[p.hair_style]
    temple = 1.12 if p.hair_style in ("bob", "long") else 1.3
    line = np.interp(
        away,
        (0.0, 0.5, 0.9, temple, temple + 0.12, 1.75, 2.1),
        (p.hairline_y, p.hairline_y - 0.5 * p.temple_recession, -0.62 - 0.2 * p.temple_recession,
         -0.2, side, side, max(side, 0.9)),
    )  # fmt: skip
    parted = np.exp(-(((turn - p.parting) / 0.28) ** 2))
    line = line + p.fringe * np.exp(-((away / 0.85) ** 4)) * (1.0 - 0.8 * parted)
    line = cv2.GaussianBlur(line.astype(np.float32).reshape(1, -1), (0, 0), 2.5)
    return _step(line + 0.035 * ragged - y, 0.1)


def _paint(
    person: Identity,
    shape: Profile,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
    strands: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The skin, uint8 [h, w, 3]: mottling, blood, freckles, moles, beard, nostrils."""
    p, (angle, x, y) = person, grid
    blood = 0.8 * _hill(x, y, 0.55, 0.5, 0.2, 0.2) + 0.5 * _hill(x, y, 0.0, 0.6, 0.17, 0.15)
    blood = p.ruddiness * blood - 0.15 * _hill(x, y, 0.0, -0.7, 0.5, 0.2)
    tired = (0.1 + 0.22 * p.age) * _hill(x, y, p.eye_distance - 0.03, 0.17, 0.16, 0.07)
    tired += 0.2 * _hill(x, y, p.eye_distance, -0.1, 0.2, 0.08)
    mottle = 0.022 * streaks(rng, GRID[1], GRID[0], 30, 40)
    mottle += 0.03 * streaks(rng, GRID[1], GRID[0], 7, 9)
    tone = 1.0 + mottle - tired
    red, green, blue = p.skin_colour
    skin = np.dstack(
        [red * tone * (1 + 0.02 * blood), green * tone * (1 - 0.13 * blood),
         blue * tone * (1 - 0.12 * blood)]
    ) * 255.0  # fmt: skip
    colour = _full(np.clip(skin, 0, 255)).astype(np.uint8)
    _spots(person, shape, colour, rng)
    _wrinkles(person, shape, colour)
    stubble = _full(_beard_mask(person, angle, x, y))
    if stubble.max() > 0.0:
        grain = noise(rng, TEXTURE_HEIGHT, TEXTURE_WIDTH)[..., 0]
        alpha = np.clip(stubble * (0.85 + 0.35 * grain), 0.0, 0.95)
        colour = blend(colour, strands, alpha)
    nostril = tuple(float(0.3 * c * 255) for c in p.skin_colour)
    for side in (-1, 1):
        hole = ellipse_points(side * 0.42 * p.nose_width, p.nose_length + 0.055, 0.055, 0.022)
        fill(colour, to_texture(shape, hole), nostril)
    return colour


def _spots(person: Identity, shape: Profile, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Freckles and moles, in place."""
    brown = tuple(255 * c * k for c, k in zip(person.skin_colour, (0.72, 0.6, 0.52), strict=True))
    for _ in range(int(160 * person.freckles)):
        spread = rng.normal(0.0, 0.38), 0.3 + rng.normal(0.0, 0.2)
        half_width, half_height = rng.uniform(0.006, 0.017, 2)
        spot = ellipse_points(*spread, half_width, half_height, count=6)
        fill(colour, to_texture(shape, spot), brown)
    dark = tuple(255 * c * k for c, k in zip(person.skin_colour, (0.4, 0.3, 0.28), strict=True))
    for mole_x, mole_y, radius in person.moles:
        spot = ellipse_points(mole_x, mole_y, radius, radius, count=10)
        fill(colour, to_texture(shape, spot), dark)


def _wrinkles(person: Identity, shape: Profile, colour: np.ndarray) -> None:
    """Furrows of the forehead and crow's feet of the older half, in place."""
    depth = 0.22 * max(0.0, person.age - 0.45)
    if depth == 0.0:
        return
    furrows = np.zeros(colour.shape[:2], np.uint8)
    across = np.linspace(-0.5, 0.5, 12)
    lines = [
        np.stack([across, y + 0.05 * np.cos(9 * across + y)], axis=1) for y in (-0.82, -0.68, -0.56)
    ]
    for side in (-1, 1):
        corner = side * (person.eye_distance + person.eye_width + 0.04)
        lines += [
            np.array([[corner, person.eye_y + 0.3 * d], [corner + 0.14 * side, person.eye_y + d]])
            for d in (-0.07, 0.01, 0.09)
        ]
    for line in lines:
        cv2.polylines(
            furrows,
            [np.round(to_texture(shape, line)).astype(np.int32)],
            False,
            255,
            1,
            cv2.LINE_AA,
        )
    shade = 1.0 - depth * cv2.GaussianBlur(furrows, (0, 0), 1.0).astype(np.float32) / 128.0
    np.clip(colour * shade[..., None], 0, 255, out=colour, casting="unsafe")


def _beard_mask(person: Identity, angle: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How densely beard and moustache cover the skin, 0..1."""
    p = person
    away = np.abs(angle)
    lip = p.mouth_y + p.lower_lip + 0.1
    edge = np.interp(
        away, (0.0, 0.3, 0.45, 0.9, 1.2, 1.4), (lip, lip, lip - 0.15, p.beard_edge, 0.3, -0.2)
    )
    beard = p.beard * _step(y - edge, 0.16) * (away < 1.5)
    top, bottom = p.nose_length + 0.1, p.mouth_y - 0.6 * p.upper_lip
    droop = 0.25 * np.maximum(np.abs(x) - 0.2, 0.0)
    moustache = _step(y - top - droop, 0.08) * _step(bottom + 2.0 * droop - y, 0.08)
    moustache = p.moustache * moustache * _step(p.mouth_width * 1.15 - np.abs(x), 0.1)
    return np.maximum(beard, moustache)
