"""Weights that are not numbers: what a training that diverged, or a damaged file, leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facenet_core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import keras


def not_finite(variables: Iterable[keras.Variable]) -> list[str]:
    """Paths of the variables with a value that is infinite or not a number."""
    from keras import ops

    return [v.path for v in variables if not np.isfinite(ops.convert_to_numpy(v)).all()]


def require_finite(network: keras.Model, origin: str) -> None:
    """Raises ModelError where a weight of the network from `origin` is not finite."""
    if broken := not_finite(network.weights):
        raise ModelError(
            f"{origin}: {len(broken)} of {len(network.weights)} weights are not finite "
            f"({broken[0]} …): its training diverged, or it is damaged; take another model"
        )
