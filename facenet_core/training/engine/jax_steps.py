"""Steps under JAX that keep the values of all variables to themselves.

Keras hands them back to its variables after every `train_on_batch`: for a thousand variables the
host needs tens of milliseconds, in which a GPU could do several steps.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from facenet_core.models.runtimes.jax import on_device


class JaxSteps:
    """Of a compiled model that has no metrics.

    Between the first step and `sync_to_variables` the variables are empty: JAX reuses their
    memory, and reading one raises an error.
    """

    def __init__(self, model: keras.Model) -> None:
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        model.make_train_function()
        self._model = model
        self._groups = (  # as `train_function` takes them
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        self._place = {
            id(variable): (group, index)
            for group, variables in enumerate(self._groups)
            for index, variable in enumerate(variables)
        }
        self._values: tuple[list[Any], ...] | None = None  # None: the variables have them

    def take(self, batch: Any) -> None:
        """One step on nested arrays [n, …], as `train_on_batch` takes them."""
        if self._values is None:
            self._values = tuple([variable.value for variable in group] for group in self._groups)
        placed = keras.tree.map_structure(
            lambda array: None if array is None else on_device(array), batch
        )
        _, values = self._model.train_function(self._values, iter([placed]))
        self._values = tuple(map(list, values))

    def value(self, variable: keras.Variable) -> np.ndarray:
        return keras.ops.convert_to_numpy(self.array(variable))

    def write(self, variable: keras.Variable, value: Any) -> None:
        if self._values is None:
            variable.assign(value)
            return
        import jax

        group, index = self._place[id(variable)]
        array = np.asarray(value, variable.dtype)
        # Unlike `assign`, without comparing it with what other processes write.
        self._values[group][index] = jax.make_array_from_callback(
            array.shape, self._values[group][index].sharding, array.__getitem__
        )

    def array(self, variable: keras.Variable) -> Any:
        """The value of a variable as it lies on the devices."""
        if self._values is None:
            return variable.value
        group, index = self._place[id(variable)]
        return self._values[group][index]

    def set_array(self, variable: keras.Variable, array: Any) -> None:
        """Let a variable have an array that lies on the devices as its value does."""
        if self._values is None:
            variable.assign(array)
            return
        group, index = self._place[id(variable)]
        self._values[group][index] = array

    def sync_to_variables(self) -> None:
        """Give all variables their values, for others to read and write."""
        if self._values is not None:
            for variables, values in zip(self._groups, self._values, strict=True):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
            self._values = None
