"""Checkpoints: all that training needs to go on as if it had never stopped, in one file.

They lie under `{model_uri}/attempts/{run_id}/checkpoints/`. Each attempt writes its own and goes
on from the newest whole one of any attempt.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from facenet_core import storage

logger = logging.getLogger(__name__)

ATTEMPTS = "attempts"
KEPT = 2
_NAME = re.compile(r"/checkpoints/step-(\d{9})\.npz$")
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError)


@dataclass(frozen=True)
class Checkpoint:
    """State after a step.

    Attributes:
        step: steps done.
        arrays: values of the variables, in the order in which they are always given.
        record: what else there is to remember, as JSON values.
    """

    step: int
    arrays: tuple[np.ndarray, ...]
    record: Mapping[str, Any]


def attempt_uri(model_uri: str, run_id: str) -> str:
    return storage.join(model_uri, ATTEMPTS, run_id)


def save(model_uri: str, run_id: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all, and remove this attempt's but for the last two."""
    folder = storage.join(attempt_uri(model_uri, run_id), "checkpoints")
    record = np.frombuffer(json.dumps(checkpoint.record).encode(), np.uint8)
    uri = storage.join(folder, f"step-{checkpoint.step:09d}.npz")
    with storage.new_file(uri) as path, path.open("wb") as file:
        np.savez(file, *checkpoint.arrays, record=record)
    for old in _by_age(folder)[KEPT:]:
        storage.remove(old)


def newest(model_uri: str, variables: Sequence[keras.Variable]) -> Checkpoint | None:
    """The newest whole checkpoint of any attempt that fits these variables, or None.

    Damaged ones, and those of another program version, are passed over with a warning.
    """
    for uri in _by_age(storage.join(model_uri, ATTEMPTS)):
        try:
            return _load(uri, variables)
        except _DAMAGE as error:
            logger.warning("%s: passed over, not a whole checkpoint (%s)", uri, error)
    return None


def uris(model_uri: str) -> list[str]:
    """All checkpoints of a model, the newest first."""
    return _by_age(storage.join(model_uri, ATTEMPTS))


def values(variables: Sequence[keras.Variable]) -> tuple[np.ndarray, ...]:
    return tuple(keras.ops.convert_to_numpy(variable) for variable in variables)


def _load(uri: str, variables: Sequence[keras.Variable]) -> Checkpoint:
    step = int(_NAME.search(uri)[1])
    with np.load(io.BytesIO(storage.read_bytes(uri)), allow_pickle=False) as file:
        arrays = tuple(file[f"arr_{number}"] for number in range(len(file.files) - 1))
        record = json.loads(file["record"].tobytes())
    found = [array.shape for array in arrays]
    if found != [tuple(variable.shape) for variable in variables]:
        raise ValueError("it holds other variables")
    return Checkpoint(step, arrays, record)


def _by_age(folder: str) -> list[str]:
    """Checkpoints below a folder, the newest first."""
    found = [
        (int(match[1]), uri) for uri in storage.list_files(folder) if (match := _NAME.search(uri))
    ]
    return [uri for _, uri in sorted(found, reverse=True)]
