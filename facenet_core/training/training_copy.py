"""The copy of a network that is trained: faster batch norm, and half precision where asked for.

What is saved is the network itself, made of plain Keras layers in float32, so that the file opens
without this package and under any engine.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` without gamma, for images [n, h, w, c] under TensorFlow.

    One TensorFlow kernel while training, where Keras composes it of a dozen: a whole training step
    of SqueezeNet is 1.3 times as fast on a CPU. Inputs may be in half precision; statistics and the
    offset are always float32.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or not self.trainable or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        beta = ops.convert_to_tensor(self.beta, "float32")
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.ones_like(beta),
            offset=beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel returns the unbiased variance; Keras averages the biased one.
        count = ops.cast(ops.shape(inputs)[0] * math.prod(inputs.shape[1:3]), variance.dtype)
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance * (count - 1) / count)
        return outputs

    def _follow(self, average: keras.Variable, value: Any) -> None:
        average.assign(average * self.momentum + value * (1 - self.momentum))


def training_copy(network: keras.Model, mixed_precision: str) -> keras.Model:
    """A copy of a Functional network with the same variables in the same order.

    Args:
        mixed_precision: `off`, or the half precision that layers compute in; their variables stay
            float32.
    """
    tensorflow = keras.backend.backend() == "tensorflow"

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if mixed_precision != "off":
            config["dtype"] = f"mixed_{mixed_precision}"
        plain_norm = type(layer) is keras.layers.BatchNormalization and layer.gamma is None
        if not (tensorflow and plain_norm):  # other engines' compilers fuse by themselves
            return type(layer).from_config(config)
        # Without autocasting, inputs stay in half precision and variables do not come in it.
        return FusedBatchNormalization.from_config(config | {"autocast": False})

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    return copy
