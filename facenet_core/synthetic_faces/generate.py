"""Synthetic faces: photograph-like pictures of people who do not exist, for demo and tests.

An identity is a seed: the shape of head, eyes, brows, nose and mouth, skin, hair and beard. An
image adds what varies between photographs: pose, light, expression, glasses and hats, background,
sometimes a second face behind, blur, noise and JPEG. The head is a parametric surface with a relief
map, intersected pixel by pixel, so that pose and light change the picture as they do in
photographs, and colours and pixels alone do not tell people apart. See `synthetic_faces` for the
parts.

Every image is a pure function of (seed, identity, image), whatever was drawn before and wherever.

    >>> picture = draw(seed=0, identity_index=42, image_index=0)
    >>> picture.shape, picture.dtype
    ((250, 250, 3), dtype('uint8'))
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image

from facenet_core.errors import ConfigError
from facenet_core.synthetic_faces.camera import develop
from facenet_core.synthetic_faces.head import View
from facenet_core.synthetic_faces.identity import Identity, sample_identity
from facenet_core.synthetic_faces.person import draw_person
from facenet_core.synthetic_faces.scene import draw_background
from facenet_core.synthetic_faces.shot import Shot, sample_shot

__all__ = [
    "Identity", "draw", "encode", "identity", "identity_name", "image_id", "members",
]  # fmt: skip

MIN_SIZE, MAX_SIZE = 64, 512
MAX_IDENTITIES = 100_000
MAX_IMAGES = 9_999


def identity(seed: int, index: int) -> Identity:
    """Person number `index` of the population `seed`.

    Raises ConfigError if either is negative.
    """
    if seed < 0 or index < 0:
        raise ConfigError(
            f"synthetic identity {index} of seed {seed}: expected numbers from 0 upwards"
        )
    return sample_identity(seed, index)


def identity_name(index: int) -> str:
    """The person's name, as in `Synthetic_00042`."""
    return f"Synthetic_{index:05d}"


def image_id(identity_index: int, image_index: int) -> str:
    """The image's path in the data set; files are numbered from 1, as in LFW."""
    name = identity_name(identity_index)
    return f"{name}/{name}_{image_index + 1:04d}.jpg"


def draw(seed: int, identity_index: int, image_index: int, size: int = 250) -> np.ndarray:
    """Draw one photograph: uint8 [size, size, 3], RGB.

    Raises ConfigError if `size` is not between 64 and 512 pixels.
    """
    person = identity(seed, identity_index)
    return _photograph(person, sample_shot(seed, identity_index, image_index, person), seed, size)


def encode(seed: int, identity_index: int, image_index: int, size: int = 250) -> bytes:
    """The photograph as a JPEG, of the quality that its camera was set to."""
    person = identity(seed, identity_index)
    shot = sample_shot(seed, identity_index, image_index, person)
    buffer = io.BytesIO()
    picture = Image.fromarray(_photograph(person, shot, seed, size))
    picture.save(buffer, format="JPEG", quality=shot.quality)
    return buffer.getvalue()


def members(
    seed: int,
    identities: int,
    images_per_identity: int,
    first_identity: int = 0,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[str, str, bytes]]:
    """Draw rows start..stop of a data set ordered by image id: (image_id, identity, JPEG bytes).

    Other people of the same population, to validate with, are another `first_identity`.
    Raises ConfigError for a data set without people or pictures or with too many for its names.
    """
    check_extent(identities, images_per_identity, first_identity)
    total = identities * images_per_identity
    for row in range(*slice(start, stop).indices(total)):
        person, image = divmod(row, images_per_identity)
        person += first_identity
        yield image_id(person, image), identity_name(person), encode(seed, person, image)


def check_extent(identities: int, images_per_identity: int, first_identity: int) -> None:
    """Names of five digits and files of four keep the order of the rows that of their ids.

    Raises:
        ConfigError: there are too many for that, or none.
    """
    if identities < 1 or not 1 <= images_per_identity <= MAX_IMAGES:
        raise ConfigError(
            f"synthetic data set of {identities} identities with {images_per_identity} images: "
            f"expected at least one identity and 1 to {MAX_IMAGES} images of each"
        )
    if first_identity < 0 or first_identity + identities > MAX_IDENTITIES:
        raise ConfigError(
            f"synthetic identities {first_identity} to {first_identity + identities - 1}: "
            f"expected numbers from 0 to {MAX_IDENTITIES - 1}"
        )


def _view(shot: Shot, size: int) -> View:
    # The middle of the face lies below the eyes, where the head's coordinates start.
    unit = shot.unit * size
    return View(
        yaw=shot.yaw,
        pitch=shot.pitch,
        roll=shot.roll,
        unit=unit,
        x=shot.centre[0] * size,
        y=shot.centre[1] * size - 0.4 * unit,
    )


def _photograph(person: Identity, shot: Shot, seed: int, size: int) -> np.ndarray:
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(
            f"synthetic images of {size} pixels: expected {MIN_SIZE} to {MAX_SIZE} pixels"
        )
    rng = np.random.default_rng(shot.scene_seed)
    canvas = draw_background(rng, size)
    if shot.bystander:
        _draw_bystander(canvas, seed, shot, rng)
    draw_person(canvas, person, shot, _view(shot, size), rng)
    return develop(canvas, shot, rng)


def _draw_bystander(canvas: np.ndarray, seed: int, shot: Shot, rng: np.random.Generator) -> None:
    """Someone smaller and out of focus behind the person, from outside the numbered population."""
    size = canvas.shape[0]
    index = int(rng.integers(MAX_IDENTITIES, 10 * MAX_IDENTITIES))
    stranger = identity(seed, index)
    pose = sample_shot(seed, index, 0, stranger)
    side = 1 if rng.random() < 0.5 else -1
    view = View(
        yaw=pose.yaw,
        pitch=pose.pitch,
        roll=pose.roll,
        unit=shot.unit * size * float(rng.uniform(0.35, 0.55)),
        x=size * (0.5 + side * float(rng.uniform(0.33, 0.45))),
        y=size * float(rng.uniform(0.12, 0.3)),
    )
    draw_person(canvas, stranger, pose, view, rng)
    canvas[:] = cv2.GaussianBlur(canvas, (0, 0), size * float(rng.uniform(0.004, 0.012)))
