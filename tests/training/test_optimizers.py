"""Twenty steps of each optimizer beside TensorFlow 1's own, the rate changing on the way."""

from typing import get_args

import keras
import numpy as np
import pytest

from facenet_core.config import TrainConfig
from facenet_core.training import optimizers

RATES = [0.02] * 12 + [0.002] * 8
START = np.array([[1.0, -2.0], [0.5, 0.01]], np.float32)


def gradient(w):
    """Of a bowl that is steeper along one axis."""
    return (w - 0.3) * np.array([5.0, 0.2], np.float32)


def tf1_optimizer(v1, name, rate):
    """As davidsandberg/facenet builds them."""
    return {
        "adagrad": lambda: v1.train.AdagradOptimizer(rate),
        "adadelta": lambda: v1.train.AdadeltaOptimizer(rate, rho=0.9, epsilon=1e-6),
        "adam": lambda: v1.train.AdamOptimizer(rate, beta1=0.9, beta2=0.999, epsilon=0.1),
        "rmsprop": lambda: v1.train.RMSPropOptimizer(rate, decay=0.9, momentum=0.9, epsilon=1.0),
        "momentum": lambda: v1.train.MomentumOptimizer(rate, 0.9, use_nesterov=True),
    }[name]()


def steps_of_tf1(name):
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        rate = v1.placeholder(tf.float32)
        w = v1.get_variable("w", initializer=START)
        fed = v1.placeholder(tf.float32, START.shape)
        step = tf1_optimizer(v1, name, rate).apply_gradients([(fed, w)])
        session.run(v1.global_variables_initializer())
        results = []
        for now in RATES:
            session.run(step, {rate: now, fed: gradient(session.run(w))})
            results.append(session.run(w))
    return np.stack(results)


@pytest.mark.parametrize("name", sorted(set(optimizers.OPTIMIZERS) - optimizers.DECOUPLED))
def test_steps_as_tensorflow_1_does(name):
    variable = keras.Variable(START)
    optimizer = optimizers.build(name, RATES[0], 0.0)
    results = []
    for rate in RATES:
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(gradient(np.array(variable)))], [variable])
        results.append(np.array(variable))
    np.testing.assert_allclose(np.stack(results), steps_of_tf1(name), atol=1e-6, rtol=0)


def test_adamw_decays_kernels_apart_from_their_gradients():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    kernel = np.array(layer.kernel)
    layer.bias.assign([1.0, 1.0])
    optimizer = optimizers.build("adamw", 0.1, 0.5)
    zeros = [keras.ops.zeros_like(v) for v in layer.trainable_variables]
    optimizer.apply(zeros, layer.trainable_variables)
    np.testing.assert_allclose(layer.kernel.numpy(), kernel * (1 - 0.1 * 0.5), rtol=1e-6)
    assert np.array_equal(layer.bias.numpy(), [1.0, 1.0])


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_the_last_gradients_norms_are_known(name):
    variables = [keras.Variable(START), keras.Variable(np.zeros(3, np.float32))]
    optimizer = optimizers.build(name, 0.01, 0.0)
    for gradients in ([START, np.ones(3, np.float32)], [2 * START, np.zeros(3, np.float32)]):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        expected = [np.linalg.norm(g) for g in gradients]
        np.testing.assert_allclose(
            optimizers.gradient_norms(optimizer).numpy(), expected, rtol=1e-6
        )


def test_every_name_of_the_configuration_is_known():
    assert set(optimizers.OPTIMIZERS) == set(
        get_args(TrainConfig.model_fields["optimizer"].annotation)
    )
