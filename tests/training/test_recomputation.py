"""What is made again for the backward pass equals what was there, and nothing is kept of it."""

import keras
import numpy as np
import pytest

from facenet_core.models.layers import Layers, concatenate, global_average, max_pool
from facenet_core.training import devices
from facenet_core.training.batch_norm import FusedBatchNormalization
from facenet_core.training.training_copy import training_copy

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="under TensorFlow only"
)

SIZE = 24


def build():
    """With cheap convolutions, pooling and branches: all that is made again.

    No tensor is taken thrice, as the order in which three gradients are summed up may change.
    """
    layers = Layers(weight_decay=1e-3, batch_norm_decay=0.9, seed=3)
    images = keras.Input((SIZE, SIZE, 3))
    x = layers.conv(images, 8, 3, "first", strides=2, padding="valid")
    x = layers.conv(x, 12, 3, "second")
    x = max_pool(x, 3, "pool")
    x = layers.conv(x, 16, 1, "third")
    one = layers.conv(x, 16, 1, "branch_0")
    two = layers.conv(layers.conv(x, 16, 1, "branch_1.0"), 16, 3, "branch_1.1")
    x = layers.linear_conv(concatenate([one, two], "concat"), 32, "up")
    return keras.Model(images, layers.bottleneck(global_average(x, "average"), 4))


def trained(copy, steps=3):
    rng = np.random.default_rng(0)
    copy.compile(keras.optimizers.SGD(0.1), "mse")
    for _ in range(steps):
        images = rng.normal(size=(6, SIZE, SIZE, 3)).astype("float32")
        copy.train_on_batch(images, rng.normal(size=(6, 4)).astype("float32"))
    return copy.get_weights()


@pytest.mark.parametrize("mixed_precision", ["off", "bfloat16"])
@pytest.mark.parametrize("frozen", [(), ("second", "second.BatchNorm", "third.BatchNorm")])
def test_weights_are_bit_for_bit_those_of_keeping_everything(monkeypatch, mixed_precision, frozen):
    def weights():
        network = build()
        for name in frozen:
            network.get_layer(name).trainable = False
        return trained(training_copy(network, mixed_precision))

    frugal = weights()
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    for one, other in zip(frugal, weights(), strict=True):
        assert np.array_equal(one, other)


def test_no_gradient_of_a_kernel_takes_what_the_forward_pass_made():
    import tensorflow as tf

    copy = training_copy(build(), "off")

    @tf.function
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(copy(images, training=True))
        return tape.gradient(loss, [v.value for v in copy.trainable_variables])

    operations = gradients.get_concrete_function(tf.zeros((2, SIZE, SIZE, 3))).graph
    sources = [
        _made_by(operation.inputs[0])
        for operation in operations.get_operations()
        if operation.type == "Conv2DBackpropFilter"
    ]
    made = [source for source in sources if source.type in ("Relu", "ConcatV2", "MaxPool")]
    again = [source for source in made if _after_the_loss(source)]
    assert len(sources) == 7  # the first takes the images
    assert len(made) == 6
    assert again == made


def _made_by(tensor):
    while tensor.op.type in ("Identity", "IdentityN"):
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor.op


def _after_the_loss(operation):
    """Whether it waits for a gradient, directly or through what it is made of."""
    if operation.control_inputs:
        return True
    return any(_after_the_loss(tensor.op) for tensor in operation.inputs)


def test_relu_stays_apart_where_others_see_what_is_before_it():
    images = keras.Input((SIZE, SIZE, 3))

    def norm(name):
        return keras.layers.BatchNormalization(scale=False, name=name)

    relu = keras.layers.Activation("relu")
    seen = norm("seen")(images)
    given = norm("given")(images)
    twice = [relu(norm(f"twice{number}")(images)) for number in range(2)]
    alone = keras.layers.Activation("relu")(norm("alone")(images))
    total = keras.layers.Add()([seen, keras.layers.Activation("relu")(seen), *twice, alone])
    outputs = [total, given, keras.layers.Activation("relu")(given)]
    network = keras.Model(images, outputs)
    copy = training_copy(network, "off")
    joined = {
        layer.name
        for layer in copy.layers
        if isinstance(layer, FusedBatchNormalization) and layer.with_relu
    }
    assert joined == {"alone"}
    some = np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
    for training in (False, True):
        made = zip(network(some, training=training), copy(some, training=training), strict=True)
        for one, other in made:
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
