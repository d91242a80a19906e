"""Weights that are not numbers: what a training that diverged, or a damaged file, leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facenet_core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import keras


def not_finite(variables: Iterable[keras.Variable]) -> list[str]:
    """Paths of the variables with a value that is infinite or not a number."""
    from keras import ops

    return [v.path for v in variables if not np.isfinite(ops.convert_to_numpy(v)).all()]


def require_finite(network: keras.Model, origin: str) -> None:
    """Raises ModelError where a weight of the network from `origin` is not finite."""
    refuse(not_finite(network.weights), len(network.weights), origin)


def refuse(broken: Sequence[str], count: int, origin: str) -> None:
    """Raises ModelError where any of a network's `count` weights are `broken`: their names."""
    if broken:
        raise ModelError(
            f"{origin}: {len(broken)} of {count} weights are not finite "
            f"({broken[0]} …): its training diverged, or it is damaged; take another model"
        )
