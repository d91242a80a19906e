"""A person: the parameters that stay the same in every picture of them.

Lengths are in units of half the width of an average face (about 7 cm), measured from the midpoint
between the eyes: x to the viewer's right, y down, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

IDENTITY_STREAM = 0x1D
"""Keeps the random numbers of identities apart from those of images."""

HAIR_STYLES = ("bald", "cropped", "short", "bob", "long")


@dataclass(frozen=True)
class Identity:
    """The shape and colours of one person. Colours are sRGB in 0..1."""

    # Head
    temple_width: float
    cheek_width: float
    jaw_width: float
    chin_width: float
    chin_y: float
    crown_y: float
    ear_size: float
    ear_stick_out: float
    neck_width: float
    # Eyes
    eye_distance: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    eye_depth: float
    lid_crease: float
    iris_radius: float
    iris_colour: tuple[float, float, float]
    # Brows
    brow_y: float
    brow_length: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    brow_gap: float
    # Nose
    nose_length: float
    nose_width: float
    nose_height: float
    bridge_width: float
    bridge_height: float
    tip_size: float
    # Mouth
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    cupid_bow: float
    lip_redness: float
    # Relief
    cheekbone: float
    chin_bump: float
    brow_ridge: float
    age: float
    # Skin
    skin_colour: tuple[float, float, float]
    ruddiness: float
    freckles: float
    moles: tuple[tuple[float, float, float], ...]
    # Hair
    hair_style: str
    hair_colour: tuple[float, float, float]
    hair_thickness: float
    hairline_y: float
    temple_recession: float
    fringe: float
    parting: float
    moustache: float
    beard: float
    beard_edge: float
    # Habits
    glasses_share: float
    glasses_width: float
    glasses_height: float
    glasses_roundness: float
    glasses_weight: float
    glasses_colour: tuple[float, float, float]
    texture_seed: int


@lru_cache(maxsize=64)
def sample_identity(seed: int, index: int) -> Identity:
    """Draw the person number `index` of the population `seed`; depends on these two only."""
    rng = np.random.default_rng([IDENTITY_STREAM, seed, index])

    def around(mean: float, spread: float) -> float:
        """Mean plus or minus spread, the ends as likely as the middle."""
        return mean + spread * rng.uniform(-1.0, 1.0)

    def between(low: float, high: float) -> float:
        return rng.uniform(low, high)

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    grown = between(0.0, 1.0)
    skin = _skin_colour(between(0.0, 1.0), around(0.0, 1.0))
    hair = _hair_colour(rng, dark_skin=skin[0] < 0.6, grey=grown > 0.75 and chance(0.6))
    bearded = chance(0.5)
    chin_y = around(1.55, 0.2)
    nose_length = around(0.62, 0.15)
    mouth_y = nose_length + (chin_y - nose_length) * around(0.41, 0.06)
    jaw_width = around(0.8, 0.14)
    return Identity(
        temple_width=around(0.95, 0.09),
        cheek_width=around(1.0, 0.1),
        jaw_width=jaw_width,
        chin_width=around(0.42, 0.16),
        chin_y=chin_y,
        crown_y=around(-1.68, 0.1),
        ear_size=around(0.3, 0.07),
        ear_stick_out=around(0.1, 0.09),
        neck_width=jaw_width * around(0.8, 0.09),
        eye_distance=around(0.455, 0.075),
        eye_y=around(0.0, 0.05),
        eye_width=around(0.235, 0.04),
        eye_height=around(0.1, 0.035),
        eye_tilt=around(0.05, 0.17),
        eye_depth=around(0.08, 0.05),
        lid_crease=between(0.0, 1.0),
        iris_radius=around(0.088, 0.012),
        iris_colour=_pick(
            rng,
            ((0.2, 0.11, 0.06), (0.36, 0.22, 0.1), (0.4, 0.44, 0.25), (0.33, 0.47, 0.62)),
            0.04,
        ),
        brow_y=around(-0.3, 0.1),
        brow_length=around(0.27, 0.06),
        brow_thickness=between(0.018, 0.095),
        brow_arch=around(0.05, 0.065),
        brow_tilt=around(0.0, 0.2),
        brow_gap=around(0.17, 0.07),
        nose_length=nose_length,
        nose_width=around(0.24, 0.075),
        nose_height=around(0.32, 0.11),
        bridge_width=around(0.1, 0.035),
        bridge_height=around(0.12, 0.07),
        tip_size=around(0.12, 0.04),
        mouth_y=mouth_y,
        mouth_width=around(0.37, 0.09),
        upper_lip=around(0.07, 0.045),
        lower_lip=around(0.1, 0.05),
        cupid_bow=between(0.0, 1.0),
        lip_redness=between(0.0, 1.15),
        cheekbone=between(0.0, 0.09),
        chin_bump=between(0.0, 0.11),
        brow_ridge=between(0.0, 0.08),
        age=grown,
        skin_colour=skin,
        ruddiness=between(0.0, 1.0),
        freckles=between(0.3, 1.0) if chance(0.22) else 0.0,
        moles=tuple(
            (between(-0.75, 0.75), between(-0.6, 1.3), between(0.018, 0.042))
            for _ in range(int(rng.integers(0, 3)))
        ),
        hair_style=HAIR_STYLES[int(rng.choice(5, p=(0.08, 0.24, 0.32, 0.16, 0.2)))],
        hair_colour=hair,
        hair_thickness=between(0.05, 0.22),
        hairline_y=around(-0.98, 0.2),
        temple_recession=between(0.0, 0.45),
        fringe=between(0.2, 0.5) if chance(0.3) else 0.0,
        parting=around(0.0, 0.6),
        moustache=between(0.35, 1.0) if bearded and chance(0.75) else 0.0,
        beard=between(0.3, 1.0) if bearded and chance(0.7) else 0.0,
        beard_edge=around(0.75, 0.3),
        glasses_share=0.75 if chance(0.18) else 0.06,
        glasses_width=between(0.3, 0.39),
        glasses_height=between(0.17, 0.3),
        glasses_roundness=between(2.0, 5.0),
        glasses_weight=between(0.012, 0.05),
        glasses_colour=_pick(rng, ((0.06, 0.06, 0.07), (0.3, 0.18, 0.1), (0.5, 0.5, 0.5)), 0.04),
        texture_seed=int(rng.integers(0, 2**31)),
    )


def _pick(
    rng: np.random.Generator, colours: tuple[tuple[float, float, float], ...], spread: float
) -> tuple[float, float, float]:
    base = np.asarray(colours[int(rng.integers(len(colours)))])
    red, green, blue = np.clip(base + rng.uniform(-spread, spread, 3), 0.02, 0.98)
    return float(red), float(green), float(blue)


def _skin_colour(tone: float, warmth: float) -> tuple[float, float, float]:
    """Interpolate along measured-looking skin tones, from pale (0) to very dark (1)."""
    anchors = np.array(
        [(0.90, 0.75, 0.67), (0.85, 0.67, 0.56), (0.74, 0.54, 0.42), (0.58, 0.40, 0.30),
         (0.43, 0.29, 0.22)]
    )  # fmt: skip
    positions = np.linspace(0.0, 1.0, len(anchors))
    red, green, blue = (float(np.interp(tone, positions, anchors[:, i])) for i in range(3))
    return red + 0.012 * warmth, green, blue - 0.02 * warmth


def _hair_colour(
    rng: np.random.Generator, dark_skin: bool, grey: bool
) -> tuple[float, float, float]:
    if grey:
        return _pick(rng, ((0.55, 0.54, 0.53), (0.75, 0.74, 0.72)), 0.03)
    dark = ((0.07, 0.06, 0.06), (0.13, 0.09, 0.07))
    light = ((0.2, 0.13, 0.08), (0.33, 0.22, 0.13), (0.62, 0.47, 0.27), (0.5, 0.24, 0.12))
    return _pick(rng, dark if dark_skin or rng.random() < 0.3 else light, 0.03)
