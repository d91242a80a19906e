"""What pixels have to be: uint8 RGB, channels last. One check for all that take arrays."""

from __future__ import annotations

import numpy as np


def require_rgb(pixels: object, name: str, *, batch: bool = False) -> np.ndarray:
    """`pixels`, where it is uint8 RGB [h, w, 3], of a batch [n, h, w, 3].

    Args:
        name: of what it is, for the message.

    Raises:
        ValueError: it is something else; says what, and how to make RGB of it.
    """
    wanted = "[n, h, w, 3]" if batch else "[h, w, 3]"
    if not isinstance(pixels, np.ndarray):
        raise ValueError(
            f"{name}: expected a NumPy array uint8 {wanted}, got {type(pixels).__name__}"
        )
    remedies = [*_shape_remedies(pixels.shape, 4 if batch else 3), *_dtype_remedies(pixels)]
    if remedies:
        raise ValueError(
            f"{name}: expected uint8 {wanted} in RGB, got {pixels.dtype} {list(pixels.shape)}; "
            + "; ".join(remedies)
        )
    return pixels


def _shape_remedies(shape: tuple[int, ...], dimensions: int) -> list[str]:
    if len(shape) == dimensions and shape[-1] == 3:
        return []
    if len(shape) == dimensions and shape[-3] == 3:
        return ["channels come last: np.moveaxis(x, -3, -1)"]
    if len(shape) == dimensions and shape[-1] == 4:
        return ["leave the fourth channel out: x[..., :3]"]
    if len(shape) == dimensions and shape[-1] == 1:
        return ["three channels of a grey image: np.repeat(x, 3, axis=-1)"]
    if len(shape) == 3 and shape[-1] == 3:
        return ["for one image: x[None]"]
    if len(shape) == dimensions - 1:
        return ["three channels of a grey image: np.repeat(x[..., None], 3, axis=-1)"]
    return ["the last dimension holds red, green and blue"]


def _dtype_remedies(pixels: np.ndarray) -> list[str]:
    if pixels.dtype == np.uint8:
        return []
    if np.issubdtype(pixels.dtype, np.floating):
        return ["of values from 0 to 1: (x * 255).round().astype(np.uint8)"]
    return ["of values from 0 to 255: x.astype(np.uint8)"]
