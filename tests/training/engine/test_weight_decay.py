"""Penalties have Keras's values and gradients, whichever way they are computed."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from facenet_core.training.engine.weight_decay import FusedL2, LateL2, half_squares

KERNEL = np.random.default_rng(4).normal(size=(3, 3, 5, 7)).astype("float32")


def test_half_squares_are_half_the_sum_of_squares() -> None:
    assert float(half_squares(KERNEL)) == pytest.approx((KERNEL.astype(float) ** 2).sum() / 2)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="under TensorFlow only")
@pytest.mark.parametrize("kind", [keras.regularizers.L2, FusedL2, LateL2])
def test_a_penalty_is_l2_times_squares_and_its_gradient_adds_to_the_kernels(
    kind: type[keras.regularizers.L2],
) -> None:
    import tensorflow as tf

    penalty, kernel, factor = kind(0.25), tf.Variable(KERNEL), KERNEL[::-1]
    with tf.GradientTape() as tape:
        decaying = penalty.decaying(kernel) if isinstance(penalty, LateL2) else kernel
        cost = penalty(kernel)
        loss = tf.reduce_sum(decaying * factor) + cost
    assert float(cost) == pytest.approx(0.25 * (KERNEL.astype(float) ** 2).sum())
    np.testing.assert_allclose(tape.gradient(loss, kernel), factor + 0.5 * KERNEL, rtol=1e-6)
