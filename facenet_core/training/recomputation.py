"""Activations made again for the backward pass instead of being kept for it, under TensorFlow.

A convolution's gradient needs its input, which mostly is ReLU of batch norm's output; ReLU's own
gradient, and batch norm's, can do with batch norm's output. So that alone is kept, and ReLU, which
costs one pass over it, is done again. After Pleiss et al., "Memory-Efficient Implementation of
DenseNets", https://arxiv.org/abs/1707.06990.

Batch norm marks its output as kept. `Relu` of such a tensor can be made again, and so can what
`MaxPooling2D` and `Concatenate` make of that: these tensors carry a recipe. `Conv2D` and
`MaxPooling2D` keep no input that has one. Without marks and recipes all are Keras's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

_KEPT = "_facenet_kept"
_RECIPE = "_facenet_recipe"

Recipe = Callable[[], Any]


def mark_kept(tensor: Any) -> Any:
    """The tensor, which is in memory until its gradient is taken, whoever else needs it."""
    setattr(tensor, _KEPT, True)
    return tensor


class Relu(keras.layers.Activation):
    """ReLU, whose gradient looks at its input where that is kept anyway."""

    def call(self, inputs: Any) -> Any:
        if not hasattr(inputs, _KEPT):
            return super().call(inputs)
        import tensorflow as tf

        @tf.custom_gradient
        def relu(x: Any) -> Any:
            return tf.nn.relu(x), lambda d: tf.raw_ops.ReluGrad(gradients=d, features=x)

        return _with_recipe(relu(inputs), lambda: tf.nn.relu(inputs))


class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that keeps no input that can be made again."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return _keeping_nothing(super().convolution_op, inputs, kernel)


class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` that keeps no input that can be made again."""

    def call(self, inputs: Any) -> Any:
        pool = super().call
        outputs = _keeping_nothing(pool, inputs)
        recipe = _recipe(inputs)
        return _with_recipe(outputs, lambda: pool(recipe())) if recipe else outputs


class Concatenate(keras.layers.Concatenate):
    """`keras.layers.Concatenate` of what can be made again, which can be made again."""

    def call(self, inputs: Any) -> Any:
        concatenate = super().call
        outputs = concatenate(inputs)
        recipes = [_recipe(x) for x in inputs]
        if not all(recipes):
            return outputs
        return _with_recipe(outputs, lambda: concatenate([make() for make in recipes]))


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


def _recipe(tensor: Any) -> Recipe | None:
    return getattr(tensor, _RECIPE, None)


def _with_recipe(tensor: Any, recipe: Recipe) -> Any:
    setattr(tensor, _RECIPE, recipe)
    return tensor


def _keeping_nothing(operation: Callable[..., Any], inputs: Any, *weights: Any) -> Any:
    """`operation(inputs, *weights)`, whose gradient makes the inputs again if they can be."""
    recipe = _recipe(inputs)
    if recipe is None:
        return operation(inputs, *weights)
    import tensorflow as tf

    @tf.custom_gradient
    def operated(inputs: Any, *weights: Any) -> Any:
        def gradient(d_outputs: Any) -> Any:
            # Made before the gradient is there, it would be kept as well.
            with tf.control_dependencies([d_outputs]):
                again = [recipe(), *weights]
            with tf.GradientTape() as tape:
                tape.watch(again)
                outputs = operation(*again)
            return tape.gradient(outputs, again, d_outputs)

        return operation(inputs, *weights), gradient

    return operated(inputs, *map(tf.convert_to_tensor, weights))
