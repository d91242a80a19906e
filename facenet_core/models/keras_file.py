"""`.keras` files from anywhere: looked at before anything in them is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

from facenet_core.errors import ModelError

# What Keras writes. Anything else (a pickle, a script) has no business in the archive.
_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
_LARGEST = 4 * 2**30  # bytes unpacked


def check(path: Path, name: str) -> None:
    """See that a file is a `.keras` archive of bounded size with nothing but a model in it.

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
    if unpacked > _LARGEST:
        raise ModelError(
            f"{name}: unpacks to {unpacked:,} bytes, more than any model has ({_LARGEST:,})"
        )
