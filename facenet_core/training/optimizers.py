"""Optimizers by name, with the update rules and constants of the original's TensorFlow 1.

Keras has the same names for rules that differ: its RMSprop starts from a mean square of zero, its
Adagrad and SGD put epsilon and learning rate elsewhere. Those that differ are spelled out here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class RMSProp(keras.optimizers.RMSprop):
    """`tf.compat.v1.train.RMSPropOptimizer`: mean squares start at one, not at zero."""

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        for velocity in self._velocities:
            velocity.assign(ops.ones(velocity.shape, velocity.dtype))


class Momentum(keras.optimizers.SGD):
    """`tf.compat.v1.train.MomentumOptimizer` with Nesterov's look-ahead.

    It sums up gradients, and the learning rate multiplies the sum: m ← momentum · m + g,
    w ← w − rate · (g + momentum · m). Keras multiplies first, so that old gradients keep the rate
    of their time and a rate that falls acts only some steps later.
    """

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        sums = self.momentums[self._get_variable_index(variable)]
        self.assign(sums, ops.add(ops.multiply(sums, self.momentum), gradient))
        step = ops.add(gradient, ops.multiply(sums, self.momentum))
        self.assign_sub(variable, ops.multiply(rate, step))


def _adamw(rate: float, weight_decay: float) -> keras.optimizers.Optimizer:
    """Loshchilov & Hutter, https://arxiv.org/abs/1711.05101; only kernels decay."""
    optimizer = keras.optimizers.AdamW(rate, weight_decay=weight_decay, epsilon=1e-8)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta"])
    return optimizer


OPTIMIZERS: dict[str, Callable[[float, float], keras.optimizers.Optimizer]] = {
    "adagrad": lambda rate, _: keras.optimizers.Adagrad(
        rate, initial_accumulator_value=0.1, epsilon=0.0
    ),
    "adadelta": lambda rate, _: keras.optimizers.Adadelta(rate, rho=0.9, epsilon=1e-6),
    "adam": lambda rate, _: keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.999, epsilon=0.1),
    "rmsprop": lambda rate, _: RMSProp(rate, rho=0.9, momentum=0.9, epsilon=1.0),
    "momentum": lambda rate, _: Momentum(rate, momentum=0.9, nesterov=True),
    "adamw": _adamw,
}
# Decay weights by themselves, so that weight decay is no part of the loss.
DECOUPLED = frozenset({"adamw"})


def build(name: str, learning_rate: float, weight_decay: float) -> keras.optimizers.Optimizer:
    """The optimizer of this name, as `TrainConfig.optimizer` lists them.

    Args:
        weight_decay: of those in `DECOUPLED`; the others find it in the gradients.
    """
    return OPTIMIZERS[name](learning_rate, weight_decay)
