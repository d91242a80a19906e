"""Weight decay that is part of the loss, cheaper than Keras has it, under TensorFlow."""

from __future__ import annotations

import keras
from keras import ops

from facenet_core.models.preprocessing import Tensor


class FusedL2(keras.regularizers.L2):
    """`keras.regularizers.L2` in one kernel of TensorFlow, without a tensor of squares."""

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * self.l2 * half_squares(x)


class LateL2(FusedL2):
    """`FusedL2` of a loss that is the sum of its terms, with the gradient taken by `decaying`.

    A penalty's gradient needs the weights alone, so TensorFlow would make it as a step starts, and
    keep as much as all kernels take until the backward pass has come to them.
    """

    def __call__(self, x: Tensor) -> Tensor:
        return ops.stop_gradient(super().__call__(x))

    def decaying(self, kernel: Tensor) -> Tensor:
        """The kernel, to whose gradient, once it is there, that of the penalty is added."""
        import tensorflow as tf

        @tf.custom_gradient
        def same(kernel: Tensor) -> Tensor:
            def gradient(d_kernel: Tensor) -> Tensor:
                with tf.control_dependencies([d_kernel]):
                    return d_kernel + 2 * self.l2 * kernel

            return tf.identity(kernel), gradient

        return same(tf.convert_to_tensor(kernel))


def half_squares(x: Tensor) -> Tensor:
    """½ Σx², float32 []; under TensorFlow in one kernel, without a tensor of squares."""
    x = ops.cast(x, "float32")
    if keras.backend.backend() != "tensorflow":
        return ops.sum(ops.square(x)) / 2
    import tensorflow as tf

    return tf.nn.l2_loss(x)
