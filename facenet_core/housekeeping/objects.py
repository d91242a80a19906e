"""The objects below a storage root, and removing some of them; never anything outside it.

Links are not followed: what they point to may lie anywhere. A link counts as an object, and
removing it removes the link alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facenet_core import storage
from facenet_core.errors import StorageError


@dataclass(frozen=True, slots=True)
class Object:
    """A file or key: its path below the folder listed, bytes, and when it was last written."""

    name: str
    bytes: int
    modified: datetime
    link: bool = False


def children(uri: str) -> tuple[list[str], list[Object]]:
    """Names of the folders right in a folder, and the other objects there, sorted."""
    folders, others = [], []
    if storage.is_local(uri):
        path = storage.file_system(uri)[1]
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    else:
                        with suppress(FileNotFoundError):
                            others.append(_local_object(entry.path, entry.name))
        except OSError as error:
            _unless_gone(error)
    else:
        for other in storage.entries(uri):
            if other.folder:
                folders.append(other.name)
            else:
                others.append(_remote_object(other.info, other.name))
    return sorted(folders), sorted(others, key=lambda other: other.name)


def below(uri: str) -> Iterator[Object]:
    """All objects below a folder, however deep, sorted by path within each local folder."""
    if storage.is_local(uri):
        yield from _below_local(storage.file_system(uri)[1])
        return
    for name, info in storage.find_files(uri).items():
        yield _remote_object(info, name)


def remove(uri: str, names: Iterable[str]) -> None:
    """Remove objects below a folder by their paths, and local folders that are empty then.

    The manifest goes first, and is gone before anything else is touched: a removal that is
    interrupted leaves an unfinished folder, never a damaged one that looks whole.

    Raises:
        StorageError: a name leaves the folder, or an object cannot be removed.
    """
    every = sorted(set(names), key=lambda name: (name != storage.MANIFEST, name))
    for name in every:
        if name.startswith("/") or ".." in name.split("/"):
            raise StorageError(f"{uri}: {name!r} is no path within it; nothing was removed")
    try:
        if storage.is_local(uri):
            _remove_local(Path(storage.file_system(uri)[1]), every)
        else:
            first = [name for name in every if name == storage.MANIFEST]
            storage.remove_files(uri, first)
            storage.remove_files(uri, every[len(first) :])
    except OSError as error:
        raise StorageError(f"{uri}: cannot be removed: {error}") from error


def remove_folder(uri: str) -> None:
    """Remove all objects below a folder, the manifest first."""
    remove(uri, [file.name for file in below(uri)])
    if storage.is_local(uri):
        _prune(Path(storage.file_system(uri)[1]))


def _below_local(path: str) -> Iterator[Object]:
    for folder, folders, files in os.walk(path, onerror=_unless_gone):
        # os.walk lists links to folders among the folders, and does not go into them.
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(files + links):
            file_path = os.path.join(folder, name)
            relative = os.path.relpath(file_path, path).replace(os.sep, "/")
            with suppress(FileNotFoundError):  # a temporary file that was renamed meanwhile
                yield _local_object(file_path, relative)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise StorageError(f"{error.filename}: cannot be listed: {error.strerror}") from error


def _local_object(path: str, name: str) -> Object:
    stat = os.lstat(path)
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    return Object(name, stat.st_size, modified, os.path.islink(path))


def _remote_object(info: Mapping[str, Any], name: str) -> Object:
    written = info.get("LastModified") or info.get("created") or info.get("mtime")
    # What does not say its age is as good as new: nothing is removed for being old.
    modified = written if isinstance(written, datetime) else datetime.now(UTC)
    if modified.tzinfo is None:
        modified = modified.replace(tzinfo=UTC)
    return Object(name, int(info["size"] or 0), modified)


def _remove_local(folder: Path, names: list[str]) -> None:
    emptied = set()
    for name in names:
        (folder / name).unlink(missing_ok=True)
        emptied.add((folder / name).parent)
    for directory in sorted(emptied, key=lambda directory: len(directory.parts), reverse=True):
        while directory != folder and directory.is_relative_to(folder) and _is_empty(directory):
            directory.rmdir()
            directory = directory.parent


def _prune(folder: Path) -> None:
    """Remove what is left of a tree of folders, where no file is in it any more."""
    for directory, _, _ in os.walk(folder, topdown=False):
        if _is_empty(Path(directory)):
            with suppress(OSError):
                os.rmdir(directory)


def _is_empty(folder: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError):
        return next(folder.iterdir(), None) is None
    return False
