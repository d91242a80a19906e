"""What is made again for the backward pass trains as what is kept, and nothing is kept of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from facenet_core.models.networks.layers import Layers, concatenate, global_average, max_pool
from facenet_core.training.engine import devices
from facenet_core.training.engine.fused import training_copy

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="under TensorFlow only"
)

SIZE = 24
# What makes the gradient of a kernel, 1×1 ones last, and with it that of the inputs.
GRADIENTS = {"Conv2DBackpropFilter": "Conv2DBackpropInput", "MatMul": "MatMul"}


def branched() -> keras.Model:
    """With ReLU, pooling and branches, which can be made again; one tensor is taken twice."""
    layers = Layers(weight_decay=0.05, batch_norm_decay=0.9, seed=3)
    images = keras.Input((SIZE, SIZE, 3))
    x = layers.conv(images, 8, 3, "first", strides=2, padding="valid")
    x = layers.conv(x, 12, 3, "second")
    x = max_pool(x, 3, "pool")
    x = layers.conv(x, 16, 1, "third")
    one = layers.conv(x, 16, 1, "branch_0")
    two = layers.conv(layers.conv(x, 16, 1, "branch_1.0"), 16, 3, "branch_1.1")
    x = layers.linear_conv(concatenate([one, two], "concat"), 32, "up")
    return keras.Model(images, layers.bottleneck(global_average(x, "average"), 4))


def shared() -> keras.Model:
    """With a layer, and a network of one, that are called twice."""
    keras.utils.set_random_seed(1)
    layers = Layers(weight_decay=0.05, batch_norm_decay=0.9, seed=3)
    images = keras.Input((SIZE, SIZE, 3))
    x = layers.conv(images, 8, 3, "first")
    again = keras.layers.Conv2D(8, 3, name="again", kernel_regularizer=keras.regularizers.L2(0.05))
    x = keras.layers.Activation("relu")(again(again(x)))
    inputs = keras.Input((None, None, 8))
    inner = keras.Model(inputs, layers.linear_conv(inputs, 8, "inside"))
    x = inner(inner(x))
    return keras.Model(images, layers.bottleneck(global_average(x, "average"), 4))


def sequential() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(8, 3, use_bias=False, name="first"),
            keras.layers.BatchNormalization(scale=False),
            keras.layers.Activation("relu"),
            keras.layers.Conv2D(8, 3, name="second"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )


def trained(copy: keras.Model, steps: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    copy.compile(keras.optimizers.SGD(0.1), "mse")
    for _ in range(steps):
        images = rng.normal(2, 3, size=(6, SIZE, SIZE, 3)).astype("float32")
        copy.train_on_batch(images, rng.normal(size=(6, 4)).astype("float32"))
    return copy.get_weights()


@pytest.mark.parametrize(
    ("build", "frozen"),
    [
        (branched, ()),
        (branched, ("second", "second.BatchNorm", "third.BatchNorm")),
        (sequential, ()),
        (shared, ()),
    ],
)
def test_weights_are_those_of_keeping_everything(
    monkeypatch: pytest.MonkeyPatch, build: Any, frozen: tuple[str, ...]
) -> None:
    def weights() -> list[np.ndarray]:
        network = build()
        for name in frozen:
            network.get_layer(name).trainable = False
        return trained(training_copy(network, "off"))

    frugal = weights()
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    for one, other in zip(frugal, weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_two_trainings_give_the_same_weights_bit_for_bit() -> None:
    first, second = (trained(training_copy(branched(), "off")) for _ in range(2))
    assert all(map(np.array_equal, first, second))


@pytest.fixture(scope="module")
def backward() -> list[Any]:
    """What makes the gradients of the kernels of convolutions, the first one's left out.

    That takes the images, which are there anyway.
    """
    import tensorflow as tf

    copy = training_copy(branched(), "off")
    kernels = [v.value for v in copy.trainable_variables if len(v.shape) == 4]
    gradients: list[Any] = []

    @tf.function
    def step(images: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(copy(images, training=True))
        gradients.extend(tape.gradient(loss, kernels)[1:])

    step.get_concrete_function(tf.zeros((2, SIZE, SIZE, 3)))
    return [operation(gradient) for gradient in gradients]


def test_no_gradient_of_a_kernel_takes_what_the_forward_pass_made(backward: Any) -> None:
    taken = [made_by_more_than_a_shape(found(g, *GRADIENTS).inputs[0]) for g in backward]
    assert {source.type for source in taken} == {"Relu", "ConcatV2", "MaxPool"}
    assert all(waits(source) for source in taken)
    pooled = [source for source in taken if source.type == "MaxPool"]
    assert all(waits(operation(source.inputs[0])) for source in pooled)


def test_the_gradient_of_a_penalty_waits_for_that_of_the_kernel(backward: Any) -> None:
    for gradient in backward:
        assert gradient.type == "AddV2"
        of_kernel, of_penalty = (tensor.op for tensor in gradient.inputs)
        assert of_penalty.type == "Mul"
        assert of_kernel in waits(of_penalty)


def test_a_kernel_has_its_gradient_when_nothing_reads_it_any_more(backward: Any) -> None:
    for gradient in backward:
        of_kernel = found(gradient, *GRADIENTS)
        (awaited,) = gradient.inputs[0].op.control_inputs
        of_inputs = made_by_more_than_a_shape(awaited.outputs[0])
        assert of_inputs.type == GRADIENTS[of_kernel.type]
        assert of_inputs is not of_kernel


def waits(op: Any) -> list[Any]:
    """What an operation, or a constant that it takes, waits for beside its inputs."""
    constants = [tensor.op for tensor in op.inputs if tensor.op.type == "Const"]
    return [awaited for one in (op, *constants) for awaited in one.control_inputs]


def operation(tensor: Any) -> Any:
    """What makes a tensor."""
    return made_by(tensor.op, tensor.value_index)


def made_by(op: Any, output: int = 0) -> Any:
    while op.type in ("Identity", "IdentityN") and not op.control_inputs:
        tensor = op.inputs[output]
        op, output = tensor.op, tensor.value_index
    return op


def made_by_more_than_a_shape(tensor: Any) -> Any:
    """What makes a tensor, whatever shape it has got since."""
    op = operation(tensor)
    return operation(op.inputs[0]) if op.type == "Reshape" else op


def found(op: Any, *kinds: str) -> Any:
    """The nearest operation of these kinds among those that `op` takes its first inputs from."""
    while op.type not in kinds:
        op = op.inputs[0].op
    return op
