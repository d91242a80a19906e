import keras
import numpy as np
import pytest
from small_crops import tiny

from facenet_core.training.fused_batch_norm import FusedBatchNormalization, fused

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
    network, copy = build(), fused(build())
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


def test_starts_from_the_same_weights():
    network = build()
    for one, other in zip(network.get_weights(), fused(network).get_weights(), strict=True):
        assert np.array_equal(one, other)
