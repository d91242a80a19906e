"""Two steps of each optimizer against its formula in TensorFlow 1's documentation."""

from typing import get_args

import keras
import numpy as np
import pytest

from facenet_core.config import TrainConfig
from facenet_core.training import optimizers

RATE, GRADIENTS = 0.1, (0.5, -0.25)


def adagrad(w, g, s):
    s["sum"] = s.get("sum", 0.1) + g * g
    return w - RATE * g / np.sqrt(s["sum"])


def adadelta(w, g, s):
    s["g"] = 0.9 * s.get("g", 0) + 0.1 * g * g
    move = g * np.sqrt(s.get("m", 0) + 1e-6) / np.sqrt(s["g"] + 1e-6)
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * move * move
    return w - RATE * move


def adam(w, g, s):
    s["t"] = s.get("t", 0) + 1
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    rate = RATE * np.sqrt(1 - 0.999 ** s["t"]) / (1 - 0.9 ** s["t"])
    return w - rate * s["m"] / (np.sqrt(s["v"]) + 0.1)


def rmsprop(w, g, s):
    s["v"] = 0.9 * s.get("v", 0) + 0.1 * g * g
    s["m"] = 0.9 * s.get("m", 0) + RATE * g / np.sqrt(s["v"] + 1.0)
    return w - s["m"]


def momentum(w, g, s):
    s["m"] = 0.9 * s.get("m", 0) + g
    return w - RATE * (g + 0.9 * s["m"])


@pytest.mark.parametrize("formula", [adagrad, adadelta, adam, rmsprop, momentum])
def test_steps_as_its_formula_says(formula):
    variable = keras.Variable(np.ones(1, np.float32))
    optimizer = optimizers.build(formula.__name__, RATE)
    expected, state = 1.0, {}
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.full((1,), gradient)], [variable])
        expected = formula(expected, gradient, state)
    assert float(np.asarray(variable)[0]) == pytest.approx(expected, rel=1e-5)


def test_every_name_of_the_configuration_is_known():
    assert set(optimizers.OPTIMIZERS) == set(
        get_args(TrainConfig.model_fields["optimizer"].annotation)
    )
