"""Rows that a step trains, of those that wait: brought to hand and put back between steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from facenet_core.models.preprocessing import Tensor
from facenet_core.training.engine.jax_steps import JaxSteps


def read_rows(variable: keras.Variable, rows: Tensor) -> Tensor:
    """Rows int [n] of a variable, [n, …]."""
    if keras.backend.backend() == "tensorflow":  # which would copy all rows for Keras
        import tensorflow as tf

        return tf.gather(variable.value, rows)
    return ops.take(variable, rows, axis=0)


def write_rows(variable: keras.Variable, rows: Tensor, values: Tensor) -> None:
    """Write values [n, …] into rows int [n] of a variable, in its place; equal rows need equal
    values. Read it by `read_rows` alone in the same program."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        variable.value.scatter_update(tf.IndexedSlices(values, rows))
        return
    rows = ops.cast(rows, "int32")[:, None]
    variable.assign(ops.scatter_update(variable, rows, values))


class Exchange:
    """Between whole variables [rows, …] and trained ones [places, …], all of the same rows.

    Rows and places are divided evenly between `shards`, and each shard's places hold rows of its
    own, so that nothing of them travels between the devices that shards are on.
    """

    def __init__(
        self, whole: Sequence[keras.Variable], trained: Sequence[keras.Variable], shards: int
    ) -> None:
        self._whole, self._trained, self._shards = list(whole), list(trained), shards
        self._rows = whole[0].shape[0] // shards
        self._at_hand: np.ndarray | None = None

    def bring(self, rows: np.ndarray, steps: JaxSteps | None = None) -> None:
        """Put back the rows at hand and bring others.

        Args:
            rows: int32 [places], or this rank's part of them: rows of each place's shard, none of
                them twice; any number beyond them leaves the place empty.
            steps: who has the values of the variables, under JAX.
        """
        before = np.full_like(rows, self._rows) if self._at_hand is None else self._at_hand
        self._at_hand = rows
        if steps is None:
            self._bring_under_tensorflow(before, rows)
            return
        from facenet_core.models.runtimes.jax import on_device

        variables, count = [*self._whole, *self._trained], len(self._whole)
        values = [steps.array(variable) for variable in variables]
        whole, trained = self._bring_under_jax(
            values[:count], values[count:], on_device(before), on_device(rows)
        )
        for variable, array in zip(variables, [*whole, *trained], strict=True):
            steps.set_array(variable, array)

    def put_back(self, steps: JaxSteps | None = None) -> None:
        """Leave no row at hand, so that the whole variables are up to date."""
        if self._at_hand is not None:
            self.bring(np.full_like(self._at_hand, self._rows), steps)
            self._at_hand = None

    @cached_property
    def _bring_under_tensorflow(self) -> Any:
        import tensorflow as tf

        @tf.function
        def bring(before: Tensor, rows: Tensor) -> None:
            filled = tf.where(before < self._rows)[:, 0]
            back = tf.gather(before, filled)
            for whole, trained in zip(self._whole, self._trained, strict=True):
                write_rows(whole, back, tf.gather(trained.value, filled))
                trained.assign(read_rows(whole, tf.minimum(rows, self._rows - 1)))

        return bring

    @cached_property
    def _bring_under_jax(self) -> Any:
        import jax
        from jax import numpy as jnp

        def of_shard(whole: Any, trained: Any, before: Any, rows: Any) -> tuple[Any, Any]:
            whole = whole.at[before].set(trained, mode="drop")
            return whole, jnp.take(whole, rows, axis=0, mode="clip")

        def divided(array: Any) -> Any:
            return array.reshape(self._shards, -1, *array.shape[1:])

        def bring(whole: list[Any], trained: list[Any], before: Any, rows: Any) -> Any:
            before, rows = divided(before), divided(rows)
            moved = [
                jax.vmap(of_shard)(divided(w), divided(t), before, rows)
                for w, t in zip(whole, trained, strict=True)
            ]
            return (
                [new.reshape(w.shape) for (new, _), w in zip(moved, whole, strict=True)],
                [new.reshape(t.shape) for (_, new), t in zip(moved, trained, strict=True)],
            )

        where = tuple(
            [variable.value.sharding for variable in variables]
            for variables in (self._whole, self._trained)
        )
        return jax.jit(bring, donate_argnums=(0, 1), out_shardings=where)
