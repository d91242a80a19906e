"""The copy of a network that is trained: faster batch norm, and half precision where asked for.

On a CPU it makes activations again for the backward pass that would fill most of the memory.

Where devices share a step, batch norm and dropout are those of the whole batch.

What is saved is the network itself, made of plain Keras layers in float32, so that the file opens
without this package and under any engine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from facenet_core.training import devices, replicas
from facenet_core.training.batch_norm import FusedBatchNormalization
from facenet_core.training.recomputation import FRUGAL


class WholeBatchDropout(keras.layers.Dropout):
    """`keras.layers.Dropout` whose mask is drawn for the whole batch: each replica takes its rows.

    So it is that of one device.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return inputs
        rows = ops.shape(inputs)[0] * replicas.count()
        ones = ops.ones((rows, *inputs.shape[1:]), inputs.dtype)
        mask = keras.random.dropout(ones, self.rate, self.noise_shape, self.seed_generator)
        return inputs * replicas.own_rows(mask)


def training_copy(network: keras.Model, mixed_precision: str) -> keras.Model:
    """A copy of a Functional network with the same variables in the same order.

    Args:
        mixed_precision: `off`, or the half precision that layers compute in; their variables stay
            float32.
    """
    tensorflow = keras.backend.backend() == "tensorflow"
    together = replicas.count() > 1
    # A GPU's kernel for batch norm leaves other things for its gradient: there all stays as it is.
    frugal = tensorflow and not devices.has_gpu()

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if mixed_precision != "off":
            config["dtype"] = f"mixed_{mixed_precision}"
        decay = getattr(layer, "kernel_regularizer", None)
        if frugal and "kernel_regularizer" in config and type(decay) is keras.regularizers.L2:
            config["kernel_regularizer"] = SparingL2(float(decay.l2))
        if together and type(layer) is keras.layers.Dropout:
            return WholeBatchDropout.from_config(config)
        if together and isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        plain_norm = type(layer) is keras.layers.BatchNormalization and layer.gamma is None
        if not (tensorflow and plain_norm):  # other engines' compilers fuse by themselves
            kind = type(layer)
            return (FRUGAL.get(kind, kind) if frugal else kind).from_config(config)
        # Without autocasting, inputs stay in half precision and variables do not come in it.
        return FusedBatchNormalization.from_config(config | {"autocast": False})

    calls: list[_Call] = []

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        calls.append(_Call(layer, keras.tree.flatten((args, kwargs)), outputs))
        return outputs

    copy = keras.models.clone_model(network, clone_function=clone, call_function=call)
    if frugal:
        _join_relus(calls, copy.outputs)
    copy.set_weights(network.get_weights())
    return copy


class SparingL2(keras.regularizers.L2):
    """`keras.regularizers.L2` without a tensor of squares, under TensorFlow on a CPU."""

    def __call__(self, x: Any) -> Any:
        import tensorflow as tf

        return 2 * self.l2 * tf.nn.l2_loss(tf.convert_to_tensor(x))


class _Call(NamedTuple):
    """Of a layer, while a network is cloned."""

    layer: keras.layers.Layer
    inputs: list[Any]
    outputs: Any


def _join_relus(calls: Sequence[_Call], outputs: Sequence[Any]) -> None:
    """Make ReLU part of the batch norm before it, where nothing else sees what is between them."""
    times = Counter(id(call.layer) for call in calls)
    takers: dict[int, list[keras.layers.Layer | None]] = {id(output): [None] for output in outputs}
    for call in calls:
        for tensor in call.inputs:
            takers.setdefault(id(tensor), []).append(call.layer)
    for norm, _, between in calls:
        after = takers.get(id(between), [])
        if not isinstance(norm, FusedBatchNormalization) or len(after) != 1 or times[id(norm)] > 1:
            continue
        (taker,) = after
        if _is_relu(taker) and times[id(taker)] == 1:
            norm.with_relu, taker.activation = True, keras.activations.linear


def _is_relu(layer: keras.layers.Layer | None) -> bool:
    return type(layer) is keras.layers.Activation and layer.activation is keras.activations.relu
