"""Standardising pixels: what the networks expect instead of 0 to 255."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

Tensor = Any  # of Keras or its backend, symbolic or with values: neither has types


def standardize(images: Tensor, fixed: bool) -> Tensor:
    """Images [n, h, w, 3] uint8 or float of 0 to 255 -> float32 [n, h, w, 3] around 0.

    Args:
        fixed: (x − 127.5)/128, the same for all images, as `use_fixed_image_standardization`.
            Else each image's own mean and deviation, (x − mean)/max(std, 1/√(h·w·3)): the
            original's prewhitening, TensorFlow's `per_image_standardization`. The bound keeps an
            image of one colour from being divided by zero.
    """
    x = ops.cast(images, "float32")
    if fixed:
        return (x - 127.5) / 128.0
    axes = (1, 2, 3)
    x = x - ops.mean(x, axis=axes, keepdims=True)
    deviation = ops.sqrt(ops.mean(ops.square(x), axis=axes, keepdims=True))
    return x / ops.maximum(deviation, 1 / math.sqrt(math.prod(x.shape[1:])))
