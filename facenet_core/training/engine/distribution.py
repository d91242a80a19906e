"""A training shared between devices, and between processes (ranks) that each have devices, by JAX.

Every device holds all variables and computes its part of the batch. JAX's compiler makes of this
one step on the whole batch: batch norm, losses and centers are those of all its images. All ranks
run the same program, and only its results leave the first one. Alone, a process is the first rank.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from facenet_core.config import TrainConfig
from facenet_core.errors import ConfigError
from facenet_core.training.ranks import Rank

logger = logging.getLogger(__name__)


def join(rank: Rank) -> None:
    """Meet the other ranks, before the backend's first operation."""
    if rank.count > 1:
        keras.distribution.initialize(rank.coordinator, rank.count, rank.number)


@contextmanager
def shared(config: TrainConfig, rank: Rank) -> Iterator[None]:
    """Around a training whose batches are shared by the devices of all ranks, or by all devices of
    this process if `data_parallel`.

    Raises:
        ConfigError: the backend is not JAX, the ranks have not equally many devices, or the batch
            cannot be shared evenly.
    """
    if rank.count == 1 and not config.data_parallel:
        yield
        return
    require_jax("data_parallel" if rank.count == 1 else "train_workers")
    import jax

    devices = keras.distribution.list_devices()
    if rank.count * jax.local_device_count() != len(devices):
        raise ConfigError(
            f"train_workers: {rank.count} ranks have {len(devices)} devices together and "
            f"{jax.local_device_count()} on one of them; each needs equally many"
        )
    if config.batch_size % len(devices):
        raise ConfigError(
            f"batch_size {config.batch_size}: {len(devices)} devices need a multiple of "
            f"{len(devices)}"
        )
    if len(devices) == 1:
        logger.warning("data_parallel: %s is the only device, nothing is shared", devices[0])
        yield
        return
    with keras.distribution.DataParallel(devices=devices).scope():
        yield


@contextmanager
def own_devices() -> Iterator[None]:
    """Around what a rank builds and computes by itself: on its own devices, without the others."""
    if _ranks() == 1:
        yield
        return
    import jax

    devices = [f"{device.platform}:{device.id}" for device in jax.local_devices()]
    with keras.distribution.DataParallel(devices=devices).scope():
        yield


def require_jax(option: str) -> None:
    """Raises ConfigError where the backend is not JAX."""
    if (backend := keras.backend.backend()) != "jax":
        raise ConfigError(
            f"{option}: only JAX shares a training between devices, and the backend is {backend}; "
            "install the extra `jax` and set KERAS_BACKEND=jax"
        )


def agreed(value: Any) -> Any:
    """A JSON value as the first rank has it; every rank must ask."""
    if _ranks() == 1:
        return value
    from jax.experimental.multihost_utils import broadcast_one_to_all

    text = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
    size = int(broadcast_one_to_all(np.array(len(text), np.int32)))
    text = broadcast_one_to_all(np.resize(text, size))
    return json.loads(np.asarray(text).astype(np.uint8).tobytes())


def everyones(rows: np.ndarray) -> np.ndarray:
    """Rows [n, …] of the whole batch from each rank's own; every rank must ask."""
    if _ranks() == 1:
        return rows
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(rows, tiled=True))


def _ranks() -> int:
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return jax.process_count()
