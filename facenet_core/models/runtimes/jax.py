"""A network's answers under JAX without what Keras does between batches.

`predict_on_batch` gathers and hands back hundreds of variables around each batch, for which a GPU
has to wait.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from facenet_core.models.preprocessing import Tensor


def compile_network(network: keras.Model) -> Callable[[np.ndarray], Tensor]:
    """From a batch to the network's answer, with the weights that it has at each call.

    Answers are JAX arrays that may still be at work, so that batches follow each other closely.
    """
    import jax

    @jax.jit
    def answer(trainable: list[Tensor], others: list[Tensor], batch: Tensor) -> Tensor:
        return network.stateless_call(trainable, others, batch, training=False)[0]

    def run(batch: np.ndarray) -> Tensor:
        trainable = [variable.value for variable in network.trainable_variables]
        others = [variable.value for variable in network.non_trainable_variables]
        return answer(trainable, others, on_device(batch))

    return run


def on_device(batch: np.ndarray) -> Tensor:
    """A batch [n, …] on the device, or divided between those of the distribution in scope.

    Each of them gets all of a batch that cannot be divided evenly. Where the devices are also those
    of other processes, the batch is this process's part of theirs together.
    """
    import jax

    distribution = keras.distribution.distribution()
    if distribution is None:
        return jax.device_put(batch)
    layout = distribution.get_data_layout(batch.shape)
    if not (sharding := layout.backend_layout).is_fully_addressable:
        return jax.make_array_from_process_local_data(sharding, batch)
    if len(batch) % distribution.device_mesh.devices.size:
        return jax.device_put(batch)
    return keras.distribution.distribute_tensor(batch, layout)
