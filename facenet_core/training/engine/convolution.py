"""Convolutions that train faster under TensorFlow on a CPU.

oneDNN takes longer for the gradient of a 1×1 kernel than for the product of matrices that it is:
over Inception-ResNet v1 in bfloat16 on a processor with AMX 2.4 times as long, else 1.03 to 1.2.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from facenet_core.models.preprocessing import Tensor


class ScaledConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` times a factor, for images [n, h, w, c].

    Attributes:
        factor: that of the `Rescaling` layer behind. Here it multiplies kernel and bias instead of
            all outputs, and TensorFlow joins bias, residual and ReLU to the convolution.
    """

    factor = 1.0

    def call(self, inputs: Tensor) -> Tensor:
        if self.factor == 1:
            return super().call(inputs)
        outputs = self.convolution_op(inputs, self.kernel)
        return ops.add(outputs, self.factor * self.bias) if self.use_bias else outputs

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        scaled = kernel if self.factor == 1 else self.factor * kernel
        pointwise = (
            self.kernel_size == self.strides == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
        )
        return _pointwise(inputs, scaled) if pointwise else super().convolution_op(inputs, scaled)


def factors(network: keras.Model) -> dict[str, float]:
    """The scales of `Rescaling` layers that convolutions take over, by the names of both layers."""
    scales = {}
    for layer in network.layers:
        if type(layer) is not keras.layers.Rescaling or len(layer._inbound_nodes) > 1:
            continue
        convolution = layer._inbound_nodes[0].parent_nodes[0].operation
        if (
            type(convolution) is keras.layers.Conv2D
            and convolution.activation is keras.activations.linear
            and len(convolution._inbound_nodes) == len(convolution._outbound_nodes) == 1
            and convolution.output not in network.outputs
            and np.ndim(layer.scale) == 0
            and not np.any(layer.offset)
        ):
            scales[layer.name] = scales[convolution.name] = float(layer.scale)
    return scales


def _pointwise(inputs: Tensor, kernel: Tensor) -> Tensor:
    """The convolution of images [n, h, w, c] with a kernel [1, 1, c, d]: [n, h, w, d]."""
    import tensorflow as tf

    @tf.custom_gradient
    def convolved(inputs: Tensor, kernel: Tensor) -> Tensor:
        def gradient(d_outputs: Tensor) -> tuple[Any, Any]:
            matrix, rows, d_rows = (
                tf.reshape(tensor, (-1, tensor.shape[-1])) for tensor in (kernel, inputs, d_outputs)
            )
            d_inputs = tf.matmul(d_rows, matrix, transpose_b=True)
            d_kernel = tf.matmul(rows, d_rows, transpose_a=True)
            return tf.reshape(d_inputs, tf.shape(inputs)), tf.reshape(d_kernel, kernel.shape)

        # TensorFlow joins this, not a product of matrices, to what comes behind.
        return tf.nn.conv2d(inputs, kernel, 1, "VALID"), gradient

    return convolved(inputs, tf.convert_to_tensor(kernel))
