"""Exponential moving average of weights, as TensorFlow's `ExponentialMovingAverage`."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


class MovingAverage(keras.layers.Layer):
    """Averages that follow variables.

    Before update n (from 0) they keep min(decay, (1 + n)/(10 + n)) of themselves, so that early
    on they follow closely. Batch norm's running averages are followed too, as in the original.
    """

    def __init__(self, decay: float, variables: Sequence[keras.Variable]) -> None:
        super().__init__(name="moving_average", trainable=False)
        self.decay = decay
        self.updates = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="updates"
        )
        self.averages = [
            self.add_weight(shape=v.shape, initializer="zeros", dtype=v.dtype, trainable=False)
            for v in variables
        ]
        for average, variable in zip(self.averages, variables, strict=True):
            # A copy: JAX does not take two variables that share their memory.
            average.assign(ops.convert_to_numpy(variable))
        self.built = True

    def follow(self, variables: Sequence[keras.Variable]) -> None:
        """One update, from the variables' present values."""
        n = ops.cast(self.updates.value, "float32")
        keep = ops.minimum(self.decay, (1 + n) / (10 + n))
        for average, variable in zip(self.averages, variables, strict=True):
            average.assign(average + (1 - keep) * (variable - average))
        self.updates.assign(self.updates + 1)

    def values(self) -> list[np.ndarray]:
        return [ops.convert_to_numpy(average) for average in self.averages]
