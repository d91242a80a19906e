"""Optimizers by name, with the original's constants."""

from __future__ import annotations

from collections.abc import Callable

import keras

OPTIMIZERS: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "adagrad": lambda rate: keras.optimizers.Adagrad(rate, initial_accumulator_value=0.1),
    "adadelta": lambda rate: keras.optimizers.Adadelta(rate, rho=0.9, epsilon=1e-6),
    "adam": lambda rate: keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.999, epsilon=0.1),
    "rmsprop": lambda rate: keras.optimizers.RMSprop(rate, rho=0.9, momentum=0.9, epsilon=1.0),
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
}


def build(name: str, learning_rate: float) -> keras.optimizers.Optimizer:
    """The optimizer of this name, as `TrainConfig.optimizer` lists them."""
    return OPTIMIZERS[name](learning_rate)
