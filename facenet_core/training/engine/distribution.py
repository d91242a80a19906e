"""A training shared between devices, and between processes (ranks) that each have devices, by JAX.

Every device holds all variables and computes its part of the batch. JAX's compiler makes of this
one step on the whole batch: batch norm, losses and centers are those of all its images. All ranks
run the same program, and only its results leave the first one. Alone, a process is the first rank.

With `classifier_sharding` each device holds the rows of its own classes, of the classifier, of the
centers, and of what the optimizer remembers of them. What travels for them is the batch's
prelogits and their gradient, not the rows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from facenet_core.config import TrainConfig
from facenet_core.errors import ConfigError
from facenet_core.models import finite
from facenet_core.training.ranks import Rank

logger = logging.getLogger(__name__)

_BATCH = "batch"
# The axis along which variables are divided, by path; an optimizer's are divided as theirs.
_OF_CLASSES = {
    "Logits/kernel": (None, _BATCH),
    "Logits/bias": (_BATCH,),
    "Logits/trained_kernel": (_BATCH, None),
    "Logits/trained_bias": (_BATCH,),
    ".*whole_(.*_)?kernel(_.*)?": (_BATCH, None),
    ".*whole_(.*_)?bias(_.*)?": (_BATCH,),
    ".*centers": (_BATCH, None),
}


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
        if config.classifier_sharding:
            logger.warning(
                "classifier_sharding: there is one device, nothing is divided; set data_parallel, "
                "or cluster.train_workers"
            )
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
    if config.classifier_sharding:
        mesh = keras.distribution.DeviceMesh((len(devices),), [_BATCH], devices)
        layouts = keras.distribution.LayoutMap(mesh)
        for path, axes in _OF_CLASSES.items():
            layouts[path] = axes
        scope = keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name=_BATCH)
    else:
        scope = keras.distribution.DataParallel(devices=devices)
    with scope.scope():
        yield


def class_shards() -> int:
    """Among how many devices classes are divided here."""
    scope = keras.distribution.distribution()
    divides = isinstance(scope, keras.distribution.ModelParallel)
    return scope.device_mesh.devices.size if divides else 1


def whole_shape(variable: keras.Variable, nrof_classes: int) -> tuple[int, ...]:
    """The shape of a variable without the rows that only let the devices divide it."""
    shape = list(variable.shape)
    if (axis := _class_axis(variable)) is not None:
        shape[axis] = nrof_classes
    return tuple(shape)


def whole(variable: keras.Variable, nrof_classes: int) -> np.ndarray:
    """A variable's value of `whole_shape`; every rank must ask."""
    value = variable.value
    if _ranks() > 1 and not value.is_fully_replicated:
        from jax.experimental.multihost_utils import process_allgather

        array = np.asarray(process_allgather(value, tiled=True))
    else:
        array = keras.ops.convert_to_numpy(variable)
    axis = _class_axis(variable)
    return array if axis is None else array[_rows(axis, 0, nrof_classes)]


def set_whole(variable: keras.Variable, array: np.ndarray) -> None:
    """Give a variable a value of `whole_shape`; every rank must do so."""
    axis = _class_axis(variable)
    if axis is not None and array.shape != tuple(variable.shape):
        # Rows of nobody have no gradient: what they are now is what they were at first.
        every = variable.shape[axis]
        rest = whole(variable, every)[_rows(axis, array.shape[axis], every)]
        array = np.concatenate([array, rest], axis)
    variable.assign(array)


def not_finite(variables: Sequence[keras.Variable]) -> list[str]:
    """As `finite.not_finite`; every rank must ask."""
    divided = [v for v in variables if _class_axis(v) is not None]
    undivided = [v for v in variables if _class_axis(v) is None]
    # On the devices, as no host has all of these values. JAX compiles that for each shape.
    broken = [v.path for v in divided if not bool(ops.all(ops.isfinite(v)))]
    return finite.not_finite(undivided) + broken


def _rows(axis: int, start: int, end: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, end))


def _class_axis(variable: keras.Variable) -> int | None:
    """The axis along which a variable is divided."""
    axes = getattr(getattr(variable, "_layout", None), "axes", ())
    return axes.index(_BATCH) if _BATCH in axes else None


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
