"""Checkpoints: all that training needs to go on as if it had never stopped, in one file.

They lie under `{model_uri}/attempts/{run_id}/checkpoints/`. Each attempt writes its own and goes
on from the newest whole one of any attempt. A finished model keeps its last one and, where epochs
were measured, that of the best epoch.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any

import numpy as np

from facenet_core import storage

logger = logging.getLogger(__name__)

Shape = tuple[int, ...]

ATTEMPTS = "attempts"
_EXTRA = "extra-"
_LARGEST = 2**36  # bytes
_NAME = re.compile(r"/checkpoints/step-(\d{9})\.npz$")
_DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
)
_DAMAGE += (KeyError, EOFError)
_DAMAGE += (NotImplementedError, RuntimeError, OSError)  # of members that claim what no zip has


@dataclass(frozen=True)
class Checkpoint:
    """State after a step.

    Attributes:
        step: steps done.
        arrays: values of the trainer's variables, in its order. While training goes on, each is
            fetched as it is asked for, once.
        record: what else there is to remember, as JSON values.
        extra: and as arrays, by name.
    """

    step: int
    arrays: Iterable[np.ndarray]
    record: Mapping[str, Any]
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)


def attempt_uri(model_uri: str, run_id: str) -> str:
    return storage.join(model_uri, ATTEMPTS, run_id)


def save(
    model_uri: str, run_id: str, checkpoint: Checkpoint, *, kept: int, best: int | None = None
) -> None:
    """Write a checkpoint, whole or not at all, and remove old ones of this attempt.

    Args:
        kept: how many stay, the newest ones.
        best: a step whose checkpoint stays too.
    """
    folder = storage.join(attempt_uri(model_uri, run_id), "checkpoints")
    record = np.frombuffer(json.dumps(checkpoint.record).encode(), np.uint8)
    uri = storage.join(folder, f"step-{checkpoint.step:09d}.npz")
    with storage.new_file(uri) as path, path.open("wb") as file:
        numbered = ((f"arr_{number}", array) for number, array in enumerate(checkpoint.arrays))
        extra = {_EXTRA + name: array for name, array in checkpoint.extra.items()}
        _write_arrays(file, chain(numbered, [("record", record)], extra.items()))
    for old in _by_age(storage.list_files(folder))[kept:]:
        if _step(old) != best:
            storage.remove(old)


def _write_arrays(file: IO[bytes], arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """As `np.savez`, which wants all arrays at once: those of a million people take gigabytes."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def newest(model_uri: str, shapes: Sequence[Shape]) -> Checkpoint | None:
    """The newest whole checkpoint of any attempt with arrays of these shapes, or None.

    Damaged ones, and those of another program version, are passed over with a warning.
    """
    return _first_whole(uris(model_uri), shapes)


def of_step(model_uri: str, step: int, shapes: Sequence[Shape]) -> Checkpoint | None:
    """A whole checkpoint of a step, of any attempt, or None."""
    return _first_whole([uri for uri in uris(model_uri) if _step(uri) == step], shapes)


def uris(model_uri: str) -> list[str]:
    """All checkpoints of a model, the newest first."""
    return _by_age(storage.list_files(storage.join(model_uri, ATTEMPTS)))


def to_keep(files: Iterable[str], best: int | None) -> list[str]:
    """Those of a finished model's files that it keeps of its attempts.

    The newest checkpoint, and one of step `best`.
    """
    newest_first = _by_age(files)
    return newest_first[:1] + [uri for uri in newest_first[1:] if _step(uri) == best][:1]


def _first_whole(uris: Sequence[str], shapes: Sequence[Shape]) -> Checkpoint | None:
    for uri in uris:
        try:
            return _load(uri, shapes)
        except _DAMAGE as error:
            logger.warning("%s: passed over, not a whole checkpoint (%s)", uri, error)
    return None


def _load(uri: str, shapes: Sequence[Shape]) -> Checkpoint:
    with np.load(io.BytesIO(storage.read_bytes(uri, _LARGEST)), allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith("arr_")]
        arrays = tuple(file[f"arr_{number}"] for number in range(len(names)))
        extra = {n.removeprefix(_EXTRA): file[n] for n in file.files if n.startswith(_EXTRA)}
        record = json.loads(file["record"].tobytes())
    if [array.shape for array in arrays] != list(shapes):
        raise ValueError("it holds other variables")
    return Checkpoint(_step(uri), arrays, record, extra)


def _step(uri: str) -> int:
    name = _NAME.search(uri)
    assert name is not None  # of `_by_age`, which asks for it
    return int(name[1])


def _by_age(files: Iterable[str]) -> list[str]:
    """The checkpoints among files, the newest first."""
    numbered = [(int(match[1]), uri) for uri in files if (match := _NAME.search(uri))]
    return [uri for _, uri in sorted(numbered, reverse=True)]
