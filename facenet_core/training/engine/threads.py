"""The threads of a training: as many as it began with, wherever it goes on.

They share the sums of an operation on a CPU, and how many there are decides how sums are rounded:
with another number weights differ in their last digits. More threads than cores cost little.
"""

from __future__ import annotations

import json
import logging
import os

import keras

from facenet_core import storage
from facenet_core.training.checkpoints import ATTEMPTS

logger = logging.getLogger(__name__)

THREADS_FILE = "threads.json"  # in the folder of all attempts
# TensorFlow's own variable, by which a user may say another number.
_VARIABLE = "TF_NUM_INTRAOP_THREADS"


def current() -> int | None:
    """TensorFlow's threads: those set, else the cores it may use. None of another engine."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    if number := tf.config.threading.get_intra_op_parallelism_threads():
        return int(number)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    number = os.environ.get(_VARIABLE, "")
    return int(number) if number.isdecimal() and int(number) else cores


def settle(model_uri: str, parent_uri: str | None) -> None:
    """Compute with as many threads as this training began with, or that of the model to resume.

    Before the engine's first operation. Where the user says otherwise, or the engine runs already,
    a warning says what follows. The number of a training that begins is noted beside its attempts.
    """
    if current() is None:
        return
    uri = storage.join(model_uri, ATTEMPTS, THREADS_FILE)
    begun = _begun_with(uri, parent_uri)
    if begun is not None and begun != current():
        _set(begun)
        if begun != current():
            logger.warning(
                "this training began with %d threads and goes on with %d: its weights will differ "
                "in their last digits from those of one that was not interrupted (%s=%d)",
                begun,
                current(),
                _VARIABLE,
                begun,
            )
    if not storage.exists(uri):
        storage.write_bytes(uri, json.dumps({"threads": begun or current()}).encode())


def _begun_with(uri: str, parent_uri: str | None) -> int | None:
    if storage.exists(uri):
        try:
            number = json.loads(storage.read_bytes(uri))["threads"]
        except (ValueError, KeyError, TypeError):
            return None
    elif parent_uri is not None:
        number = storage.open_artifact(parent_uri, "train").details.get("threads")
    else:
        return None
    return number if isinstance(number, int) and number > 0 else None


def _set(number: int) -> None:
    if os.environ.get(_VARIABLE):
        return
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(number)
    except RuntimeError:  # it runs already
        return
