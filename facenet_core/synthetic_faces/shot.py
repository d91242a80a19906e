"""A photograph: everything that changes from one picture of a person to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facenet_core.synthetic_faces.identity import Identity

SHOT_STREAM = 0x5407
"""Keeps the random numbers of images apart from those of identities."""

LIGHTS = (
    (1.0, 1.0, 1.0),  # flash, overcast
    (1.0, 0.89, 0.74),  # tungsten
    (0.87, 0.95, 1.0),  # open shade
    (1.0, 0.84, 0.7),  # low sun
    (0.92, 1.0, 0.9),  # fluorescent tubes
)
HATS = ("none", "beanie", "cap")


@dataclass(frozen=True)
class Shot:
    """One exposure. Angles in radians, positions and sigmas in fractions of the image's side."""

    # Pose
    yaw: float
    pitch: float
    roll: float
    unit: float
    """Half the width of an average face."""
    centre: tuple[float, float]
    """Where the middle of the face lies."""
    # Expression
    smile: float
    mouth_open: float
    eye_open: float
    brow_raise: float
    gaze: tuple[float, float]
    # Light
    light: tuple[float, float, float]
    """Direction to the lamp, unit length, in the camera's frame (y down, z to the camera)."""
    light_colour: tuple[float, float, float]
    ambient: float
    ambient_colour: tuple[float, float, float]
    # What is worn
    glasses: bool
    hat: str
    hat_colour: tuple[float, float, float]
    clothes_colour: tuple[float, float, float]
    # Camera
    exposure: float
    white_balance: tuple[float, float, float]
    contrast: float
    saturation: float
    blur: float
    motion: tuple[float, float]
    noise: float
    quality: int
    # The rest of the picture
    bystander: bool
    scene_seed: int


def sample_shot(seed: int, identity_index: int, image_index: int, identity: Identity) -> Shot:
    """Draw the circumstances of one picture; the person only says how often they wear glasses."""
    rng = np.random.default_rng([SHOT_STREAM, seed, identity_index, image_index])

    def around(mean: float, spread: float, limit: float = 2.0) -> float:
        return mean + spread * min(max(rng.normal(), -limit), limit)

    def between(low: float, high: float) -> float:
        return rng.uniform(low, high)

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    def dye() -> tuple[float, float, float]:
        brightness, vividness = between(0.05, 0.8), 0.5 * between(0.0, 1.0) ** 2
        red, green, blue = (
            min(max(brightness + vividness * between(-1.0, 1.0), 0.02), 0.95) for _ in range(3)
        )
        return red, green, blue

    direction = np.array([around(0.0, 0.75), between(-1.1, 0.15), between(0.45, 1.2)])
    direction /= np.linalg.norm(direction)
    smile = between(0.3, 1.0) if chance(0.4) else around(0.0, 0.12)
    warm_and_cold = around(0.0, 0.075)
    saturation = 0.0 if chance(0.04) else between(0.65, 1.3)
    return Shot(
        yaw=around(0.0, 0.2, 2.2),
        pitch=around(0.0, 0.09),
        roll=around(0.0, 0.08, 2.5),
        unit=between(0.176, 0.216),
        centre=(around(0.5, 0.022), around(0.5, 0.02)),
        smile=smile,
        mouth_open=between(0.2, 1.0) if chance(0.22) else 0.0,
        eye_open=around(1.0, 0.17),
        brow_raise=around(0.0, 0.028),
        gaze=(around(0.0, 0.25), around(0.0, 0.12)),
        light=(float(direction[0]), float(direction[1]), float(direction[2])),
        light_colour=LIGHTS[int(rng.integers(len(LIGHTS)))],
        ambient=between(0.32, 0.65),
        ambient_colour=LIGHTS[int(rng.integers(len(LIGHTS)))],
        glasses=chance(identity.glasses_share),
        hat="none" if chance(0.87) else HATS[int(rng.integers(1, len(HATS)))],
        hat_colour=dye(),
        clothes_colour=dye(),
        exposure=around(0.0, 0.27, 1.8),
        white_balance=(1.0 + warm_and_cold, 1.0 + around(0.0, 0.025), 1.0 - warm_and_cold),
        contrast=between(0.8, 1.25),
        saturation=saturation,
        blur=between(0.0, 0.0034),
        motion=(around(0.0, 0.005), around(0.0, 0.003)) if chance(0.12) else (0.0, 0.0),
        noise=between(0.004, 0.024),
        quality=int(rng.integers(55, 96)),
        bystander=chance(0.08),
        scene_seed=int(rng.integers(0, 2**31)),
    )
