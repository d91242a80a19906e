import keras
import numpy as np
import pytest

from facenet_core.training.engine.moving_average import MovingAverage


def test_starts_at_the_values_and_follows_closely_at_first():
    weight = keras.Variable(np.array([1.0, 2.0], np.float32))
    average = MovingAverage(0.3, [weight])
    assert average.values()[0].tolist() == [1.0, 2.0]
    expected = np.array([1.0, 2.0])
    for n, value in enumerate([3.0, -1.0, 4.0, 0.5, 2.0]):
        weight.assign([value, value])
        average.follow([weight])
        keep = min(0.3, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * value
    assert average.values()[0] == pytest.approx(expected, rel=1e-6)
