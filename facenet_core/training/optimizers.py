"""Optimizers by name, with the update rules and constants of the original's TensorFlow 1.

Keras has the same names for rules that differ: its RMSprop starts from a mean square of zero, its
Adagrad and SGD put epsilon and learning rate elsewhere. Those that differ are spelled out here.
Under TensorFlow, Adam and RMSProp are its own kernels, the very ones of the original: they pass
over the weights once, where Keras's composition of operations takes a tenth of a step on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from facenet_core.models.preprocessing import Tensor
from facenet_core.training.engine.weight_decay import half_squares

# The mixin below stands before one of Keras' optimizers.
_Optimizer: Any = keras.optimizers.Optimizer if TYPE_CHECKING else object


class RecordsGradientNorms(_Optimizer):
    """Mixed into an optimizer: it remembers how long the gradients of the last step were.

    Attributes:
        gradient_norms: float32 [variables], the Euclidean norm of each variable's gradient.
    """

    gradient_norms: keras.Variable

    def build(self: Any, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.gradient_norms = self.add_variable(
            shape=(len(variables),), dtype="float32", name="gradient_norms"
        )

    def apply(self: Any, grads: list[Tensor], trainable_variables: Any = None) -> None:
        super().apply(grads, trainable_variables)
        squares = [half_squares(gradient) for gradient in grads]
        self.gradient_norms.assign(ops.sqrt(2 * ops.stack(squares)))


class Adagrad(RecordsGradientNorms, keras.optimizers.Adagrad):
    """Of TensorFlow 1 with the constants of `OPTIMIZERS`."""


class Adadelta(RecordsGradientNorms, keras.optimizers.Adadelta):
    """Of TensorFlow 1 with the constants of `OPTIMIZERS`."""


class Adam(RecordsGradientNorms, keras.optimizers.Adam):
    """`tf.compat.v1.train.AdamOptimizer`."""

    def _backend_update_step(
        self, grads: Tensor, trainable_variables: Any, learning_rate: Tensor
    ) -> None:
        """Keras's, with a rate that allows for averages which start at zero under TensorFlow.

        Found here it is one for all variables; an operation for each of hundreds takes memory.
        """
        if keras.backend.backend() == "tensorflow":
            step = ops.cast(self.iterations + 1, "float32")
            beta1_power, beta2_power = ops.power(self.beta_1, step), ops.power(self.beta_2, step)
            learning_rate = ops.cast(learning_rate, "float32")
            learning_rate = learning_rate * ops.sqrt(1 - beta2_power) / (1 - beta1_power)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        if keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=0.0,  # `learning_rate` allows for it
            beta2_power=0.0,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class AdamW(RecordsGradientNorms, keras.optimizers.AdamW):
    """Loshchilov & Hutter, https://arxiv.org/abs/1711.05101."""


class RMSProp(RecordsGradientNorms, keras.optimizers.RMSprop):
    """`tf.compat.v1.train.RMSPropOptimizer`: mean squares start at one, not at zero."""

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        for velocity in self._velocities:
            velocity.assign(ops.ones(velocity.shape, velocity.dtype))

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        if keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._velocities[index].value.handle,
            mom=self._momentums[index].value.handle,
            lr=ops.cast(learning_rate, "float32"),
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Momentum(RecordsGradientNorms, keras.optimizers.SGD):
    """`tf.compat.v1.train.MomentumOptimizer` with Nesterov's look-ahead.

    It sums up gradients, and the learning rate multiplies the sum: m ← momentum · m + g,
    w ← w − rate · (g + momentum · m). Keras multiplies first, so that old gradients keep the rate
    of their time and a rate that falls acts only some steps later.
    """

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        sums = self.momentums[self._get_variable_index(variable)]
        self.assign(sums, ops.add(ops.multiply(sums, self.momentum), gradient))
        step = ops.add(gradient, ops.multiply(sums, self.momentum))
        self.assign_sub(variable, ops.multiply(rate, step))


def _adamw(rate: float, weight_decay: float) -> keras.optimizers.Optimizer:
    """Only kernels decay."""
    optimizer = AdamW(rate, weight_decay=weight_decay, epsilon=1e-8)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta"])
    return optimizer


OPTIMIZERS: dict[str, Callable[[float, float], keras.optimizers.Optimizer]] = {
    "adagrad": lambda rate, _: Adagrad(rate, initial_accumulator_value=0.1, epsilon=0.0),
    "adadelta": lambda rate, _: Adadelta(rate, rho=0.9, epsilon=1e-6),
    "adam": lambda rate, _: Adam(rate, beta_1=0.9, beta_2=0.999, epsilon=0.1),
    "rmsprop": lambda rate, _: RMSProp(rate, rho=0.9, momentum=0.9, epsilon=1.0),
    "momentum": lambda rate, _: Momentum(rate, momentum=0.9, nesterov=True),
    "adamw": _adamw,
}
# Decay weights by themselves, so that weight decay is no part of the loss.
DECOUPLED = frozenset({"adamw"})


def gradient_norms(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Float32 [variables] of an optimizer of `build`: the last step's, before any scaling."""
    return getattr(optimizer, "inner_optimizer", optimizer).gradient_norms


def build(name: str, learning_rate: float, weight_decay: float) -> keras.optimizers.Optimizer:
    """The optimizer of this name, as `TrainConfig.optimizer` lists them.

    Args:
        weight_decay: of those in `DECOUPLED`; the others find it in the gradients.
    """
    return OPTIMIZERS[name](learning_rate, weight_decay)
