"""What networks expect instead of pixels of 0 to 255."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Channels = tuple[float, float, float]

# TensorFlow's `l2_normalize` in the original: the squared norm of prelogits is at least this.
SMALLEST_SQUARED_NORM = 1e-10


@dataclass(frozen=True)
class Standardization:
    """Pixels of 0 to 255 become (x − mean)/deviation.

    Attributes:
        mean: of each channel; None: each image's own mean and deviation, see
            `preprocessing.standardize`.
        deviation: of each channel.
        color: the order of the channels.
    """

    mean: Channels | None = None
    deviation: Channels = (1.0, 1.0, 1.0)
    color: Literal["RGB", "BGR"] = "RGB"

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Float32 [n, h, w, 3] of pixels uint8 [n, h, w, 3] RGB."""
        x = (images if self.color == "RGB" else images[..., ::-1]).astype(np.float32)
        if self.mean is not None:
            mean, deviation = (np.array(v, np.float32) for v in (self.mean, self.deviation))
            return (x - mean) / deviation
        x -= x.mean((1, 2, 3), keepdims=True)
        least = 1 / math.sqrt(math.prod(x.shape[1:]))
        return x / np.maximum(x.std((1, 2, 3), keepdims=True), np.float32(least))

    def __str__(self) -> str:
        if self.mean is None:
            return "each image's own mean and deviation"
        if self == PIXELS:
            return "in the file it was made of"
        mean, deviation = (
            f"{values[0]:g}" if len({*values}) == 1 else f"({', '.join(f'{v:g}' for v in values)})"
            for values in (self.mean, self.deviation)
        )
        return f"(x − {mean})/{deviation}" + (", BGR" if self.color == "BGR" else "")


PER_IMAGE = Standardization()
FIXED = Standardization((127.5,) * 3, (128.0,) * 3)  # `use_fixed_image_standardization`
PIXELS = Standardization((0.0,) * 3)  # the network standardises them, or was trained on them


def from_json(values: Mapping[str, Any]) -> Standardization:
    """The one whose fields are `values`, as a manifest has them.

    Raises:
        KeyError: one is missing.
    """
    mean = values["mean"]
    return Standardization(
        None if mean is None else tuple(mean), tuple(values["deviation"]), values["color"]
    )


def of_flag(use_fixed_image_standardization: bool) -> Standardization:
    """What the original's flag of this name says."""
    return FIXED if use_fixed_image_standardization else PER_IMAGE
