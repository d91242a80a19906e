"""Convolutions that train faster train as Keras's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from facenet_core.models.networks.layers import Layers, global_average, residual
from facenet_core.training.engine import convolution
from facenet_core.training.engine.fused import training_copy

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="under TensorFlow only"
)

SIZE = 12


def residuals() -> keras.Model:
    """Of 1×1 convolutions, one of them every second pixel, with biases that are not zero."""
    keras.utils.set_random_seed(1)
    layers = Layers(weight_decay=0.05, batch_norm_decay=0.9, seed=3)
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 1, strides=2, name="sparse")(images)
    for number, activation in enumerate((True, False)):
        branches = [layers.conv(x, 6, 1, f"{number}.one"), layers.conv(x, 6, 3, f"{number}.two")]
        x = residual(layers, x, branches, 0.2, f"block{number}", activation)
    network = keras.Model(images, keras.layers.Dense(4)(global_average(x, "average")))
    for number in (0, 1):
        bias = network.get_layer(f"block{number}.Conv2d_1x1").bias
        bias.assign(np.linspace(-1, 1, 8))
    return network


@pytest.mark.parametrize(("precision", "tolerance"), [("off", 1e-5), ("bfloat16", 0.2)])
def test_residuals_train_as_the_network_they_copy(precision, tolerance):
    draw = np.random.default_rng(0)
    images = draw.normal(size=(8, SIZE, SIZE, 3)).astype("float32")
    wanted = draw.normal(size=(8, 4)).astype("float32")
    network = residuals()
    copy = training_copy(network, precision)
    start = network.get_weights()
    for model in (network, copy):
        model.compile(keras.optimizers.SGD(0.05), "mse")
        for _ in range(3):
            model.train_on_batch(images, wanted)
    for before, one, other, variable in zip(
        start, network.get_weights(), copy.get_weights(), network.weights, strict=True
    ):
        moved, also = (one - before).ravel(), (other - before).ravel()
        error = np.linalg.norm(also - moved) / np.linalg.norm(moved)
        assert error < tolerance, variable.path


def test_scales_of_residuals_go_into_the_convolutions_before_them():
    scales = convolution.factors(residuals())
    blocks = ("block0", "block1")
    assert scales == {
        f"{block}.{name}": 0.2 for block in blocks for name in ("Conv2d_1x1", "scale")
    }


def rescaled(**options: object) -> keras.Model:
    """A convolution and a `Rescaling` of its output, or something close to that."""
    images = keras.Input((SIZE, SIZE, 3))
    convolved = keras.layers.Conv2D(3, 1, activation=options.get("activation"))(images)
    before = images if "of_images" in options else convolved
    scale = keras.layers.Rescaling(options.get("scale", 0.5), options.get("offset", 0.0))(before)
    if "added" in options:
        return keras.Model(images, keras.layers.Add()([scale, convolved]))
    return keras.Model(images, [scale, convolved] if "also_out" in options else scale)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "relu"},
        {"of_images": True},
        {"scale": [1.0, 2.0, 3.0]},
        {"offset": 0.5},
        {"added": True},
        {"also_out": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_scales_stay_where_they_are(options):
    assert convolution.factors(rescaled())
    network = rescaled(**options)
    assert convolution.factors(network) == {}
    images = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
    for one, other in zip(
        keras.tree.flatten(network(images)),
        keras.tree.flatten(training_copy(network, "off")(images)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
