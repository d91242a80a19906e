"""Random crops and mirror images, each image its own.

Where an image is cut and whether it is mirrored is drawn by NumPy as a function of (seed, step,
row of the batch), the same under every engine; cutting happens on the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def draw_placements(
    seed: int,
    step: int,
    count: int,
    crop_size: tuple[int, int],
    image_size: int,
    *,
    random_crop: bool,
    random_flip: bool,
) -> np.ndarray:
    """Int32 [count, 3]: top and left of the part that is used, and 1 where it is mirrored."""
    random = np.random.default_rng([seed, step, 1])
    room = np.array(crop_size) - image_size
    placements = central_placements(count, crop_size, image_size)
    if random_crop:
        placements[:, :2] = random.integers(0, room + 1, (count, 2))
    if random_flip:
        placements[:, 2] = random.integers(0, 2, count)
    return placements


def central_placements(count: int, crop_size: tuple[int, int], image_size: int) -> np.ndarray:
    """Placements of the centre, not mirrored, as embedding uses it."""
    room = np.array(crop_size) - image_size
    return np.tile(np.array([*(room // 2), 0], np.int32), (count, 1))


def cut(images: Any, placements: Any, image_size: int) -> Any:
    """The placed parts [n, image_size, image_size, 3] of images [n, h, w, 3], in their dtype."""
    height, width = images.shape[1:3]
    offsets = ops.arange(image_size, dtype="int32")
    rows = placements[:, 0, None] + offsets
    mirrored = placements[:, 2, None] > 0
    columns = placements[:, 1, None] + ops.where(mirrored, image_size - 1 - offsets, offsets)
    first = ops.arange(ops.shape(images)[0], dtype="int32") * (height * width)
    pixels = first[:, None, None] + rows[:, :, None] * width + columns[:, None, :]
    return ops.take(ops.reshape(images, (-1, 3)), pixels, axis=0)
