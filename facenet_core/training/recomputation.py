"""Activations made again for the backward pass instead of being kept for it, under TensorFlow.

The gradient of a convolution needs its input, which here is mostly batch norm and ReLU of another
convolution's output. That output is kept anyway, for batch norm's own gradient, and making the
input of it again takes one pass over it. After Pleiss et al., "Memory-Efficient Implementation of
DenseNets", https://arxiv.org/abs/1707.06990.

A tensor that can be made again carries its recipe. The layers of this module pass recipes on, and
where they find one they keep nothing of their input. What is made again equals, bit for bit, what
was there before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

# The most products in a value of a convolution that is made again: as quick as reading its inputs.
CHEAP = 64

_ATTRIBUTE = "_facenet_recipe"


class Recipe:
    """How to make a tensor again.

    Args:
        make: gives the tensor, of the ingredients.
        ingredients: tensors, which are kept, and recipes of others.
    """

    def __init__(self, make: Callable[..., Any], ingredients: Sequence[Any]) -> None:
        self._make, self._ingredients = make, ingredients
        self._made: tuple[Any, Any] | None = None

    @classmethod
    def of(cls, tensor: Any) -> Recipe:
        """The recipe that the tensor carries; else that of keeping it."""
        return _carried(tensor) or cls(lambda kept: kept, [tensor])

    def tensor(self, after: Any) -> Any:
        """The tensor, made once the gradient `after` is there: made earlier, it would be kept.

        Whoever asks within one graph gets the same one.
        """
        import tensorflow as tf

        graph = tf.compat.v1.get_default_graph()
        if self._made is None or self._made[0] is not graph:
            with tf.control_dependencies([after]):
                parts = [
                    part.tensor(after) if isinstance(part, Recipe) else tf.identity(part)
                    for part in self._ingredients
                ]
            self._made = graph, self._make(*parts)
        return self._made[1]


def with_recipe(tensor: Any, recipe: Recipe) -> Any:
    """The tensor, which carries the recipe from now on."""
    setattr(tensor, _ATTRIBUTE, recipe)
    return tensor


def _carried(tensor: Any) -> Recipe | None:
    return getattr(tensor, _ATTRIBUTE, None)


class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that keeps no input that can be made again.

    Where it takes few operations, its output can be made again too.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        import tensorflow as tf

        convolve = super().convolution_op
        kernel = tf.convert_to_tensor(kernel)  # a value: gradients must not find a variable here
        if self.trainable:
            outputs = _keeping_nothing(convolve, inputs, kernel)
        else:  # nobody asks for its kernel's gradient
            outputs = _keeping_nothing(lambda x: convolve(x, kernel), inputs)
        if math.prod(kernel.shape[:-1]) <= CHEAP:
            with_recipe(outputs, Recipe(convolve, [Recipe.of(inputs), kernel]))
        return outputs


class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` that can be made again if its input can."""

    def call(self, inputs: Any) -> Any:
        pool = super().call
        outputs = _keeping_nothing(pool, inputs)
        if recipe := _carried(inputs):
            with_recipe(outputs, Recipe(pool, [recipe]))
        return outputs


class Concatenate(keras.layers.Concatenate):
    """`keras.layers.Concatenate` that can be made again if all its inputs can."""

    def call(self, inputs: Any) -> Any:
        concatenate = super().call
        outputs = concatenate(inputs)
        recipes = [_carried(x) for x in inputs]
        if all(recipes):
            with_recipe(outputs, Recipe(lambda *parts: concatenate(list(parts)), recipes))
        return outputs


# What to train instead of a layer, on a CPU.
FRUGAL: dict[type[keras.layers.Layer], type[keras.layers.Layer]] = {
    keras.layers.Conv2D: Conv2D,
    keras.layers.MaxPooling2D: MaxPooling2D,
    keras.layers.Concatenate: Concatenate,
}


def _keeping_nothing(operation: Callable[..., Any], inputs: Any, *weights: Any) -> Any:
    """`operation(inputs, *weights)`, whose gradient makes the inputs again if they can be."""
    recipe = _carried(inputs)
    if recipe is None:
        return operation(inputs, *weights)
    import tensorflow as tf

    @tf.custom_gradient
    def operated(inputs: Any, *weights: Any) -> Any:
        def gradient(d_outputs: Any) -> Any:
            again = [recipe.tensor(d_outputs), *weights]
            with tf.GradientTape() as tape:
                tape.watch(again)
                outputs = operation(*again)
            d_inputs, *d_weights = tape.gradient(outputs, again, d_outputs)
            # The weights' first: what goes on from here would leave more and more for later.
            with tf.control_dependencies(d_weights):
                return tf.identity(d_inputs), *d_weights

        return operation(inputs, *weights), gradient

    return operated(inputs, *weights)
