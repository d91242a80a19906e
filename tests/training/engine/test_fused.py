import keras
import numpy as np
import pytest

from facenet_core.training.engine.fused import FusedBatchNormalization, training_copy
from tests.support.small_crops import tiny

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernel is TensorFlow's"
)


def build():
    return tiny(
        image_size=16,
        embedding_size=4,
        keep_probability=1.0,
        weight_decay=1e-3,
        batch_norm_decay=0.9,
        seed=1,
    )


@tensorflow_only
def test_trains_as_the_network_it_copies():
    network, copy = build(), training_copy(build(), "off")
    copy.set_weights(network.get_weights())
    images = np.random.default_rng(0).normal(size=(5, 16, 16, 3)).astype("float32")
    assert any(isinstance(layer, FusedBatchNormalization) for layer in copy.layers)
    for model in (network, copy):
        model.compile(keras.optimizers.SGD(0.1), "mse")
        for _ in range(3):
            model.train_on_batch(images, np.ones((5, 4), "float32"))
    assert [v.path for v in network.variables] == [v.path for v in copy.variables]
    for one, other in zip(network.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(network(images), copy(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("center", "scale"), [(False, False), (False, True), (True, True)])
def test_trains_networks_of_plain_layers_in_a_row(center, scale):
    norm = keras.layers.BatchNormalization(center=center, scale=scale)
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3), norm]
    network = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(4)])
    copy = training_copy(network, "off")
    copy.compile("sgd", "mse")
    copy.train_on_batch(np.zeros((2, 16, 16, 3), "float32"), np.ones((2, 4), "float32"))
    assert not any(isinstance(layer, FusedBatchNormalization) for layer in copy.layers)


def test_starts_from_the_same_weights():
    network = build()
    for one, other in zip(
        network.get_weights(), training_copy(network, "off").get_weights(), strict=True
    ):
        assert np.array_equal(one, other)


def test_half_precision_computes_like_float32_and_keeps_its_variables_in_it():
    network, copy = build(), training_copy(build(), "bfloat16")
    images = np.random.default_rng(0).normal(size=(5, 16, 16, 3)).astype("float32")
    assert {v.dtype for v in copy.variables} == {"float32"}
    assert copy.get_layer("conv1").compute_dtype == "bfloat16"
    for training in (True, False):
        one, other = (np.asarray(m(images, training=training), "float32") for m in (network, copy))
        np.testing.assert_allclose(one, other, atol=0.05)
