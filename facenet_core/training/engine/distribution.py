"""One training step shared between the devices of a host, by TensorFlow's MirroredStrategy.

Every device is a replica: it holds all variables and computes its part of the batch. What these
functions give is the whole batch's, so that every replica moves its copies of centers, statistics
and averages alike, and nothing needs to be sent round afterwards. On one device, and under JAX,
whose compiler does all this by itself, they leave everything as it is.

Only sums cross devices. The strategy's own `all_gather` makes all replicas wait for each other and
ask for shapes at every call; rows side by side, zeros elsewhere, are a sum too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from facenet_core.models.preprocessing import Tensor


def count() -> int:
    """Devices that share a step, as the strategy in scope has them."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def divider() -> Callable[[Any], Any]:
    """What cuts batches for the strategy in scope.

    Nested arrays [n, …] on the host become what its `run` hands out, n / replicas rows to each
    replica, put on its device at once. An n that cannot be divided so is a ValueError.
    """
    if count() == 1:
        return lambda batch: batch
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()

    def divide(array: Tensor) -> Tensor:
        if array is None:
            return None
        parts = np.split(array, strategy.num_replicas_in_sync)

        def part(context: Tensor) -> Tensor:
            replica = context.replica_id_in_sync_group
            with tf.device(strategy.extended.worker_devices[replica]):
                return tf.convert_to_tensor(parts[replica])

        return strategy.experimental_distribute_values_from_function(part)

    return lambda batch: keras.tree.map_structure(divide, batch)


def share(mean: Tensor) -> Tensor:
    """A replica's share of the batch's mean, of a mean over its own part: shares sum up to it."""
    return mean if count() == 1 else mean / count()


def total(share: Tensor) -> Tensor:
    """The sum over replicas, the same tensor on each."""
    return share if count() == 1 else _sums([share])[0]


def total_gradients(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Pairs of gradient and variable, with the gradients of all replicas summed up.

    They are sent together. A variable without a gradient keeps None.
    """
    pairs = list(pairs)
    if count() == 1:
        return pairs
    sums = iter(_sums([gradient for gradient, _ in pairs if gradient is not None]))
    return [
        (gradient if gradient is None else next(sums), variable) for gradient, variable in pairs
    ]


def side_by_side(own: Tensor) -> Tensor:
    """Float tensors of one shape [...] as [replicas, ...]; more than one replica only."""
    places = ops.reshape(ops.arange(count()), (-1,) + (1,) * len(own.shape))
    return total(ops.where(ops.equal(places, _place()), own[None], 0))


def whole_batch(own: Tensor) -> Tensor:
    """Rows [n, …] of the whole batch from each replica's [n / replicas, …].

    They travel as float32, which is exact for labels of up to 16 million people.
    """
    if count() == 1:
        return own
    rows = side_by_side(ops.cast(own, "float32"))
    return ops.cast(ops.reshape(rows, (-1, *own.shape[1:])), own.dtype)


def own_rows(whole: Tensor) -> Tensor:
    """A replica's part of rows [n, …] that all replicas know."""
    rows = ops.shape(whole)[0] // count()
    return whole[_place() * rows : (_place() + 1) * rows]


def _place() -> Any:
    """Which replica computes this, from 0."""
    import tensorflow as tf

    return tf.distribute.get_replica_context().replica_id_in_sync_group


def _sums(tensors: list[Tensor]) -> list[Tensor]:
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)
