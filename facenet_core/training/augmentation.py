"""What happens to images between their crop and the network, each image its own.

In the order of davidsandberg/facenet: rotate, crop, flip, standardise; beyond it brightness and
contrast before standardising, and cutout after. What is done to an image is drawn by NumPy as a
function of (seed, step, row of the batch), the same under every engine; doing it is the device's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from keras import ops

from facenet_core.config import TrainConfig
from facenet_core.models.preprocessing import Tensor, standardize

LARGEST_ANGLE = 10.0
# Columns of a drawing: what is done to one image.
TOP, LEFT, MIRRORED, ANGLE, BRIGHTNESS, CONTRAST, HOLE_TOP, HOLE_LEFT = range(8)
COLUMNS = 8


@dataclass(frozen=True)
class Augmentation:
    """Which of it is done; fields as in `TrainConfig`. Decides what the compiled step contains."""

    image_size: int
    random_rotate: bool = False
    random_crop: bool = False
    random_flip: bool = False
    random_brightness: float = 0.0
    random_contrast: float = 0.0
    random_cutout: int = 0
    use_fixed_image_standardization: bool = False

    @classmethod
    def of(cls, config: TrainConfig) -> Self:
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})


def draw(
    augmentation: Augmentation, seed: int, step: int, count: int, crop_size: tuple[int, int]
) -> np.ndarray:
    """Float32 [count, 8]: what is done to each image of a step, in the columns named above.

    Each kind has a stream of its own, so that turning one on leaves the others as they were.

    Args:
        crop_size: height and width of the images, pixels.
    """
    streams = [np.random.default_rng([seed, step, kind]) for kind in range(1, 7)]
    places, mirrors, angles, brightness, contrast, holes = streams
    size = augmentation.image_size
    drawn = central(augmentation, count, crop_size)
    if augmentation.random_crop:
        drawn[:, [TOP, LEFT]] = places.integers(0, np.array(crop_size) - size + 1, (count, 2))
    if augmentation.random_flip:
        drawn[:, MIRRORED] = mirrors.integers(0, 2, count)
    if augmentation.random_rotate:
        drawn[:, ANGLE] = np.radians(angles.uniform(-LARGEST_ANGLE, LARGEST_ANGLE, count))
    if most := augmentation.random_brightness:
        drawn[:, BRIGHTNESS] = 255 * brightness.uniform(-most, most, count)
    if most := augmentation.random_contrast:
        drawn[:, CONTRAST] = contrast.uniform(1 - most, 1 + most, count)
    if side := augmentation.random_cutout:
        # Its centre is anywhere in the image, so a hole at the edge is smaller.
        drawn[:, [HOLE_TOP, HOLE_LEFT]] = holes.integers(0, size, (count, 2)) - side // 2
    return drawn


def central(augmentation: Augmentation, count: int, crop_size: tuple[int, int]) -> np.ndarray:
    """Float32 [count, 8] that only cuts out the centre, as embedding does."""
    plain = np.zeros(COLUMNS, np.float32)
    plain[[TOP, LEFT]] = (np.array(crop_size) - augmentation.image_size) // 2
    plain[CONTRAST] = 1
    plain[[HOLE_TOP, HOLE_LEFT]] = -max(augmentation.random_cutout, 1)  # outside
    return np.tile(plain, (count, 1))


def prepare(images: Tensor, drawn: Tensor, augmentation: Augmentation) -> Tensor:
    """The network's input, float32 [n, image_size, image_size, 3], standardised.

    Args:
        images: uint8 [n, h, w, 3] RGB.
        drawn: float32 [n, 8], of `draw` or `central`.
    """
    pixels = alter(images, drawn, augmentation)
    inputs = standardize(pixels, augmentation.use_fixed_image_standardization)
    return cut_out(inputs, drawn, augmentation) if augmentation.random_cutout else inputs


def alter(images: Tensor, drawn: Tensor, augmentation: Augmentation) -> Tensor:
    """The part of each image that is used, turned, mirrored and lit, before it is standardised.

    uint8 where pixels only move, else float32 of 0 to 255: [n, image_size, image_size, 3].
    """
    rows, columns = _places(drawn, augmentation.image_size)
    if augmentation.random_rotate:
        pixels = _rotated(images, rows, columns, drawn[:, ANGLE])
    else:
        pixels = _take(images, ops.cast(rows, "int32"), ops.cast(columns, "int32"))
    if augmentation.random_brightness or augmentation.random_contrast:
        pixels = ops.cast(pixels, "float32")
        mean = ops.mean(pixels, axis=(1, 2, 3), keepdims=True)
        contrast, brightness = (drawn[:, kind, None, None, None] for kind in (CONTRAST, BRIGHTNESS))
        pixels = ops.clip((pixels - mean) * contrast + mean + brightness, 0.0, 255.0)
    return pixels


def cut_out(inputs: Tensor, drawn: Tensor, augmentation: Augmentation) -> Tensor:
    """Standardised images [n, s, s, 3] with a square of each set to zero, which is grey.

    DeVries & Taylor, https://arxiv.org/abs/1708.04552.
    """
    offsets = ops.arange(augmentation.image_size, dtype="float32")

    def within(start: Tensor) -> Tensor:
        return (offsets >= start[:, None]) & (offsets < start[:, None] + augmentation.random_cutout)

    hole = within(drawn[:, HOLE_TOP])[:, :, None] & within(drawn[:, HOLE_LEFT])[:, None, :]
    return ops.where(hole[..., None], 0.0, inputs)


def _places(drawn: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Row and column float32 [n, size, size] of the image that each pixel of the cut shows."""
    offsets = ops.arange(size, dtype="float32")
    rows = drawn[:, TOP, None] + offsets
    mirrored = drawn[:, MIRRORED, None] > 0
    columns = drawn[:, LEFT, None] + ops.where(mirrored, size - 1 - offsets, offsets)
    return ops.repeat(rows[:, :, None], size, axis=2), ops.repeat(columns[:, None, :], size, axis=1)


def _take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels [n, s, s, 3] at rows and columns int32 [n, s, s], in the images' dtype."""
    pixels = ops.reshape(images, (ops.shape(images)[0], -1, 3))
    places = rows * images.shape[2] + columns
    # Image by image: of the whole batch, every device would receive the images of all others.
    return ops.vectorized_map(lambda image: ops.take(*image, axis=0), (pixels, places))


def _rotated(images: Tensor, rows: Tensor, columns: Tensor, angles: Tensor) -> Tensor:
    """Pixels float32 [n, s, s, 3] of the images turned about their centres, bilinear.

    What lies outside of the image is black, as in the original.
    """
    height, width = images.shape[1:3]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    sine, cosine = ops.sin(angles)[:, None, None], ops.cos(angles)[:, None, None]
    down, right = rows - middle_row, columns - middle_column
    rows = cosine * down + sine * right + middle_row
    columns = cosine * right - sine * down + middle_column
    top, left = ops.floor(rows), ops.floor(columns)
    result = 0.0
    for row, vertical in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, horizontal in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = ops.where(inside, vertical * horizontal, 0.0)
            taken = _take(
                images,
                ops.cast(ops.clip(row, 0, height - 1), "int32"),
                ops.cast(ops.clip(column, 0, width - 1), "int32"),
            )
            result = result + weight[..., None] * ops.cast(taken, "float32")
    return result
