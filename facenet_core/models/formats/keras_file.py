"""Checks of `.keras` files from anywhere, made before anything in them is loaded."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from facenet_core import storage
from facenet_core.errors import ArtifactError, ModelError

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
# What Keras writes. Anything else (a pickle, a script) does not belong in the archive.
_MEMBERS = ("metadata.json", CONFIG, WEIGHTS)
LARGEST = 4 * 2**30  # bytes, unpacked or not
_LARGEST_CONFIG = 64 * 2**20  # bytes; that of a network of a thousand layers has one hundredth
# Weights that nobody trained may be zeros, which pack well; those of a network don't.
_MOST_PACKED = 100


def fetch(uri: str, folder: Path) -> Path:
    """A copy of the file at `uri` in a temporary folder, checked.

    Raises:
        ArtifactError: there is none.
        ModelError: see `check`.
    """
    local = folder / "model.keras"
    try:
        storage.fetch_file(uri, local, LARGEST)
    except FileNotFoundError:
        raise ArtifactError(f"{uri}: no such model; train it again") from None
    check(local, uri)
    return local


def check(path: Path, name: str) -> None:
    """Check that a file is a `.keras` archive of bounded size with nothing but a model in it.

    Args:
        name: of the file, for messages.

    Raises:
        ModelError: it is not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise ModelError(
            f"{name}: not a Keras model that can be read: no zip archive, or cut short; expected "
            "a file that Keras 3 wrote"
        ) from None
    foreign = [m.filename for m in members if m.filename not in _MEMBERS and not m.is_dir()]
    missing = [member for member in _MEMBERS if member not in {m.filename for m in members}]
    if foreign or missing:
        odd = f"{foreign[0]} has no place in it" if foreign else f"{missing[0]} is missing"
        raise ModelError(f"{name}: not a Keras model that can be read: {odd}")
    unpacked = sum(member.file_size for member in members)
    if unpacked > LARGEST:
        raise ModelError(
            f"{name}: unpacks to {unpacked:,} bytes, more than any model has ({LARGEST:,})"
        )
    for member in members:
        if member.filename != WEIGHTS and member.file_size > _LARGEST_CONFIG:
            raise ModelError(
                f"{name}: its {member.filename} has {member.file_size:,} bytes, more than any "
                f"model's ({_LARGEST_CONFIG:,})"
            )


def require_pixels(dtypes: Sequence[str], shape: Sequence[int | None], name: str) -> None:
    """Check that a network takes pixels, as those of `facenet export` do.

    Args:
        dtypes: of its inputs.
        shape: of the first.

    Raises:
        ModelError: nothing says how pixels become the numbers that it takes.
    """
    if [*dtypes] != ["uint8"] or len(shape) != 4:
        raise ModelError(
            f"{name}: takes {', '.join(dtypes)} {tuple(shape)}, and nothing says how pixels are "
            "standardised for it; name the folder of its manifest.json, or a file from "
            "`facenet export`, which takes pixels"
        )


def check_values(path: Path, name: str) -> None:
    """Check that the file can hold the weights its configuration asks for, before any is made.

    A configuration of a few bytes can ask for any number of them.

    Args:
        path: of a file that passed `check`.
        name: of the file, for messages.

    Raises:
        ModelError: it asks for more.
        Exception: whatever Keras raises for a configuration that it cannot build.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(CONFIG))
    # Keras remembers, for its thread, variables that have no values yet: this thread ends.
    with ThreadPoolExecutor(1) as thread:
        values = thread.submit(_count_values, config).result()
    refuse_more(values, most_values(path), name)


def most_values(path: Path) -> int:
    """How many values of weights the file, which passed `check`, can hold."""
    with zipfile.ZipFile(path) as archive:
        most = archive.getinfo(WEIGHTS).file_size  # a value takes a byte at least
    return min(most, _MOST_PACKED * path.stat().st_size)


def refuse_more(values: int, most: int, name: str) -> None:
    """Raises ModelError where a configuration asks for more values than its file can hold."""
    if values > most:
        raise ModelError(
            f"{name}: its configuration asks for {values:,} weights, its {WEIGHTS} can hold at "
            f"most {most:,}; it is damaged, or made to fill the memory"
        )


def _count_values(config: Any) -> int:
    """How many values the variables of a network have, none of which are made."""
    import keras

    with keras.StatelessScope(initialize_variables=False):
        network = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(math.prod(variable.shape) for variable in network.variables)
