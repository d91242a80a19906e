"""Files named after what strangers called their pictures: all can be written, no two are one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

_LONGEST_NAME = 255  # bytes, as file systems have it
_LONGEST_PATH = 700  # bytes below a folder; macOS takes 1,024 of a whole path
# Control characters, separators of lines, backslashes, and halves of characters.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\\\\\ud800-\udfff]")


def safe_name(name: str, room: int = _LONGEST_NAME) -> str:
    """A name as one component of a path, of at most `room` bytes.

    A name that is none, has characters of control or is too long is changed, and ends in a digest
    of what it was: different names stay different.
    """
    clean = _ODD.sub("_", name).replace("/", "_")
    clean = "_" if clean in ("", ".", "..") else clean
    if clean == name and len(name.encode()) <= room:
        return name
    return _marked(clean, name, room)


def safe_path(path: str, suffix: str = "") -> str:
    """A picture's path as one that stays below its folder and can be written.

    Args:
        suffix: what follows its last name.
    """
    *folders, name = path.split("/")
    parts = [*map(safe_name, folders), safe_name(name, _LONGEST_NAME - len(suffix.encode()))]
    if len("/".join(parts).encode()) > _LONGEST_PATH:  # of the folders the last says who it is
        parts = [_marked(parts[-2], "/".join(folders), _LONGEST_NAME), parts[-1]]
    return "/".join(parts) + suffix


def create_file(root: Path, paths: Sequence[str], suffix: str) -> tuple[str, BinaryIO]:
    """A new file below a folder, and its path there.

    Args:
        paths: what it may be called, without the suffix, the best first. If there are files of all
            these names, or folders, the last gets a number.
    """
    for path in chain(paths, (f"{paths[-1]}~{number}" for number in count(2))):
        *folders, name = safe_path(path, suffix).split("/")
        parent = root
        for folder in folders:
            parent = _create_folder(parent, folder)
        try:
            stream = (parent / name).open("xb")
        except FileExistsError:
            continue
        return (parent / name).relative_to(root).as_posix(), stream
    raise AssertionError("unreachable")


def _create_folder(parent: Path, name: str) -> Path:
    """A folder in another; by a second name where the first is a file's."""
    try:
        (parent / name).mkdir(exist_ok=True)
        return parent / name
    except FileExistsError:
        folder = parent / _marked(name, name, _LONGEST_NAME)
        folder.mkdir(exist_ok=True)
        return folder


def _marked(name: str, original: str, room: int) -> str:
    """A name that ends in a digest of another."""
    mark = "~" + hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return name.encode()[: room - len(mark)].decode("utf-8", "ignore") + mark
