"""Activations made again for the backward pass instead of being kept for it, under TensorFlow.

A convolution's gradient needs its input, which mostly is ReLU of batch norm's output; ReLU's own
gradient, and batch norm's, can do with batch norm's output. So that alone is kept, and ReLU, which
costs one pass over it, is done again. After Pleiss et al., "Memory-Efficient Implementation of
DenseNets", https://arxiv.org/abs/1707.06990.

Batch norm marks its output as kept. `Relu` of such a tensor can be made again, and so can what
`MaxPooling2D` and `Concatenate` make of that: these tensors carry a recipe. `Conv2D` and
`MaxPooling2D` keep no input that has one. Without marks and recipes all are Keras's own.

TensorFlow begins an operation as soon as it has its inputs, and keeps the result until it is used.
So whatever a backward pass could do during the forward pass waits here for a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from facenet_core.models.preprocessing import Tensor
from facenet_core.training.engine.convolution import ScaledConv2D
from facenet_core.training.engine.weight_decay import LateL2

_KEPT = "_facenet_kept"
_RECIPE = "_facenet_recipe"

# Makes a tensor again, once the tensor it is given is there.
Recipe = Callable[[Any], Any]


def mark_kept(tensor: Tensor) -> Tensor:
    """The tensor, which is in memory until its gradient is taken, whoever else needs it."""
    setattr(tensor, _KEPT, True)
    return tensor


class Relu(keras.layers.Activation):
    """ReLU, whose gradient looks at its input where that is kept anyway."""

    def call(self, inputs: Tensor) -> Tensor:
        if not hasattr(inputs, _KEPT):
            return mark_kept(super().call(inputs))  # for its own gradient
        import tensorflow as tf

        @tf.custom_gradient
        def relu(x: Tensor) -> Tensor:
            return tf.nn.relu(x), lambda d: tf.raw_ops.ReluGrad(gradients=d, features=x)

        return _with_recipe(relu(inputs), _late(lambda: tf.nn.relu(inputs)))


class Conv2D(ScaledConv2D):
    """`ScaledConv2D` that keeps no input that can be made again."""

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if isinstance(self.kernel_regularizer, LateL2):
            kernel = self.kernel_regularizer.decaying(kernel)
        return _keeping_nothing(super().convolution_op, inputs, kernel)


class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` that keeps no input that can be made again."""

    def call(self, inputs: Tensor) -> Tensor:
        pool = super().call
        if not hasattr(inputs, _RECIPE):
            return mark_kept(pool(inputs))  # for its own gradient
        recipe = _recipe(inputs)
        assert recipe is not None
        return _with_recipe(_keeping_nothing(pool, inputs), _late(pool, recipe))


class Concatenate(keras.layers.Concatenate):
    """`keras.layers.Concatenate` of what can be made again, which can be made again."""

    def call(self, inputs: Tensor) -> Tensor:
        concatenate = super().call
        outputs = concatenate(inputs)
        recipes = [recipe for x in inputs if (recipe := _recipe(x)) is not None]
        if len(recipes) < len(inputs):
            return outputs
        return _with_recipe(outputs, _late(lambda *again: concatenate(again), *recipes))


def frugal_class(layer: keras.layers.Layer) -> type[keras.layers.Layer]:
    """The class to train in the place of a layer's own."""
    kind = type(layer)
    if kind is keras.layers.Activation and layer.activation is keras.activations.relu:
        return Relu
    return _FRUGAL.get(kind, kind)


_FRUGAL: dict[type[keras.layers.Layer], type[keras.layers.Layer]] = {
    keras.layers.Conv2D: Conv2D,
    keras.layers.MaxPooling2D: MaxPooling2D,
    keras.layers.Concatenate: Concatenate,
}


def _recipe(tensor: Tensor) -> Recipe | None:
    """What gives the tensor in the backward pass, if nothing more need be kept for that."""
    return (lambda _: tensor) if hasattr(tensor, _KEPT) else getattr(tensor, _RECIPE, None)


def _late(operation: Callable[..., Any], *ingredients: Recipe) -> Recipe:
    """Of `operation` on what has recipes itself.

    All of it waits, not the first alone: TensorFlow swaps pooling and ReLU, which may then not.
    """

    def recipe(after: Tensor) -> Tensor:
        import tensorflow as tf

        again = [make(after) for make in ingredients]
        with tf.control_dependencies([after]):
            return operation(*again)

    return recipe


def _with_recipe(tensor: Tensor, recipe: Recipe) -> Tensor:
    setattr(tensor, _RECIPE, recipe)
    return tensor


def _keeping_nothing(operation: Callable[..., Any], inputs: Tensor, *weights: Any) -> Tensor:
    """`operation(inputs, *weights)`, whose gradient makes the inputs again if they can be.

    The weights have theirs when they are no longer needed for that of the inputs.
    """
    recipe = _recipe(inputs)
    if recipe is None:
        return operation(inputs, *weights)
    import tensorflow as tf

    @tf.custom_gradient
    def operated(inputs: Tensor, *weights: Any) -> Tensor:
        def gradient(d_outputs: Tensor) -> Tensor:
            again = [recipe(d_outputs), *weights]
            with tf.GradientTape() as tape:
                tape.watch(again)
                outputs = operation(*again)
            d_inputs, *d_weights = tape.gradient(outputs, again, d_outputs)
            # An optimizer changes a variable in place only once nobody reads it any more. Else it
            # makes a copy, amid the activations, where large ones then find no room.
            with tf.control_dependencies([d_inputs]):
                return d_inputs, *map(tf.identity, d_weights)

        return operation(inputs, *weights), gradient

    return operated(inputs, *map(tf.convert_to_tensor, weights))
