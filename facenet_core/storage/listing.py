"""What lies in folders, and removing it: every answer whole, or an error.

A listing that stops early would have files remade, forgotten people kept and sources cut, so
nothing here takes silence, a refusal or half an answer for "there is no more".
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from facenet_core.storage.clients import file_system
from facenet_core.storage.retrying import asked

_BATCH = 1000  # objects that a store removes at once


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A file or folder right in another one; `info` is what the store says of it."""

    name: str
    folder: bool
    info: Mapping[str, Any]


def entries(uri: str) -> list[FolderEntry]:
    """What lies right in a folder, sorted; empty where there is no folder.

    Raises:
        StorageError: it cannot be listed.
    """
    fs, path = file_system(uri)

    def listed() -> list[dict[str, Any]]:
        fs.invalidate_cache()
        with suppress(FileNotFoundError, NotADirectoryError):
            infos: list[dict[str, Any]] = fs.ls(path, detail=True)
            return infos
        return []

    folder_entries = [
        FolderEntry(posixpath.basename(info["name"].rstrip("/")), info["type"] == "directory", info)
        for info in asked(uri, "listed", listed)
        if info["name"].rstrip("/") != path.rstrip("/")  # a store's mark of an empty folder
    ]
    return sorted(folder_entries, key=lambda entry: entry.name)


def find_files(uri: str) -> dict[str, Mapping[str, Any]]:
    """What the store says of every file below a folder, by its path there, sorted; empty where
    there is no folder.

    Raises:
        StorageError: it cannot be listed.
    """
    fs, path = file_system(uri)
    infos = asked(uri, "listed", lambda: _find(fs, path))
    return {posixpath.relpath(path_below, path): infos[path_below] for path_below in sorted(infos)}


def file_sizes(uri: str) -> dict[str, int]:
    """Bytes of every file below a folder, by its path there; empty where there is no folder."""
    return {name: int(info["size"] or 0) for name, info in find_files(uri).items()}


def list_files(uri: str) -> list[str]:
    """URIs of all finished files below a folder, sorted; empty where there is no folder."""
    return [posixpath.join(uri, name) for name in find_files(uri) if not name.endswith(".tmp")]


def is_folder(uri: str) -> bool:
    """Whether a folder is there.

    Raises:
        StorageError: the store does not say.
    """
    fs, path = file_system(uri)
    if "s3" in fs.protocol:
        return asked(uri, "looked up", lambda: bool(fs.isdir(path)))
    try:  # `isdir` takes every failure of other stores for a no
        return bool(asked(uri, "looked up", lambda: fs.info(path)["type"] == "directory"))
    except FileNotFoundError:
        return False


def remove(uri: str) -> None:
    """Remove a file or a folder with all that it holds; nothing happens where there is none.

    Raises:
        StorageError: something of it cannot be removed.
    """
    fs, path = file_system(uri)

    def remove_what_is_there() -> None:
        with suppress(FileNotFoundError):  # somebody else was faster
            if "s3" in fs.protocol:
                _remove_objects(fs, list(_find(fs, path)))
            else:
                fs.rm(path, recursive=True)

    asked(uri, "removed", remove_what_is_there)


def remove_files(uri: str, names: Iterable[str]) -> None:
    """Remove files below a folder by their paths; what is not there is no error.

    Raises:
        StorageError: one of them cannot be removed.
    """
    fs, path = file_system(uri)
    places = [posixpath.join(path, name) for name in names]

    def remove_all() -> None:
        with suppress(FileNotFoundError):
            if "s3" in fs.protocol:
                _remove_objects(fs, places)
            else:
                for path_below in places:
                    with suppress(FileNotFoundError):
                        fs.rm_file(path_below)

    asked(uri, "removed", remove_all)


def _find(fs: AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    if isinstance(fs, LocalFileSystem):
        return _find_local(fs, path)
    fs.invalidate_cache()
    with suppress(FileNotFoundError):
        infos: dict[str, dict[str, Any]] = fs.find(path, detail=True)
        return infos
    return {}


def _find_local(fs: LocalFileSystem, path: str) -> dict[str, dict[str, Any]]:
    """As fsspec's `find`, which leaves out folders that it is not allowed to list."""
    infos = {}
    for folder, _, files in os.walk(path, onerror=_unless_gone, followlinks=True):
        for file in (posixpath.join(folder, name) for name in files):
            with suppress(FileNotFoundError):
                infos[file] = fs.info(file)
    return infos


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _remove_objects(fs: Any, places: Sequence[str]) -> None:
    """Remove objects of a bucket. s3fs' `rm` says nothing of those that the server kept."""
    from botocore.exceptions import ClientError

    for start in range(0, len(places), _BATCH):
        split = [fs.split_path(path_below)[:2] for path_below in places[start : start + _BATCH]]
        keys = {"Objects": [{"Key": key} for _, key in split], "Quiet": True}
        answer = fs.call_s3("delete_objects", Bucket=split[0][0], Delete=keys)
        for refused in answer.get("Errors", [])[:1]:
            raise ClientError({"Error": refused}, f"DeleteObjects: {refused.get('Key')}")
