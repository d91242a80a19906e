"""What networks expect instead of pixels of 0 to 255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


def of_flag(use_fixed_image_standardization: bool) -> Standardization:
    """What the original's flag of this name says."""
    return FIXED if use_fixed_image_standardization else PER_IMAGE
