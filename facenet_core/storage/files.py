"""URIs and files: whole or not at all, on local folders and object stores alike.

A URI is anything fsspec understands (`s3://bucket/key`, `memory://x`) or a local path, plain or as
`file:///…`.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from facenet_core.errors import ConfigError, StorageError, TooLarge
from facenet_core.storage.clients import file_system, local_path
from facenet_core.storage.listing import remove
from facenet_core.storage.reading import (
    AHEAD,
    BLOCK,
    LARGEST_IN_MEMORY,
    StoredFile,
    blocks_up_to,
    fetch,
    open_regular,
    read_up_to,
)
from facenet_core.storage.retrying import CutShort, asked, reported
from facenet_core.storage.temporary import (
    sweep_files,
    sweep_temporary_folders,
    temporary_folder,
    unfinished_file,
)
from facenet_core.text import files

_UPLOAD_PART = 16 * 2**20
_UPLOADS = 4  # side by side; each part is in memory


def join(uri: str, *names: str) -> str:
    return posixpath.join(uri, *names)


def exists(uri: str) -> bool:
    """Whether a file or folder is there.

    Raises:
        StorageError: the store does not say.
    """
    return _info(uri) is not None


def size(uri: str) -> int | None:
    """Bytes of a file, or None where there is none.

    Raises:
        StorageError: the store does not say whether there is one, or how large it is.
    """
    info = _info(uri)
    if info is None:
        return None
    if info["size"] is None:
        raise StorageError(f"{uri}: the server does not say how many bytes it has")
    return int(info["size"])


def _info(uri: str) -> Mapping[str, Any] | None:
    """What the file system says of a file or folder; None where it says that there is none."""
    fs, path = file_system(uri)
    try:
        return asked(uri, "looked up", lambda: fs.info(path))
    except FileNotFoundError:
        return None


def modified(uri: str) -> datetime:
    """When a file was last written.

    Raises:
        FileNotFoundError: there is none.
        StorageError: the store does not say.
    """
    fs, path = file_system(uri)
    return asked(uri, "looked up", lambda: fs.modified(path))


def read_bytes(uri: str, limit: int = LARGEST_IN_MEMORY) -> bytes:
    """The whole file, if it has at most `limit` bytes: whatever size was claimed, no more are read.

    Raises:
        FileNotFoundError: there is none.
        NotAFile: it is a pipe, device or socket.
        TooLarge: it has more bytes.
        StorageError: it cannot be read.
    """
    with _open(uri, BLOCK) as (file, claimed):
        return read_up_to(file, limit, uri, claimed or 0)


def fetch_file(uri: str, target: Path, limit: int) -> None:
    """Copy a file of at most `limit` bytes to a local path. Raises as `read_bytes`."""
    with _open(uri, BLOCK) as (file, claimed), target.open("wb") as copy:
        if (claimed or 0) > limit:
            raise TooLarge(f"{uri}: {claimed:,} bytes, more than the {limit:,} that are read")
        copy.writelines(blocks_up_to(file, limit, uri))


def read_files(folder: str, sizes: Mapping[str, int]) -> list[bytes]:
    """Files below a folder whose sizes are known, all at the same time.

    Raises:
        StorageError: one of them cannot be read, or has another size.
    """
    fs, base = file_system(folder)
    places = [posixpath.join(base, name) for name in sizes]
    try:
        with reported(folder, "read"):
            if isinstance(fs, AsyncFileSystem):
                ranges = zip(places, (0 for _ in places), sizes.values(), strict=True)
                return fetch(fs, folder, list(ranges))
            return [
                fs.cat_file(path, 0, size)
                for path, size in zip(places, sizes.values(), strict=True)
            ]
    except FileNotFoundError as error:
        raise StorageError(f"{folder}: a file vanished while it was read: {error}") from error


@contextmanager
def open_input(uri: str, ahead: int = AHEAD, size: int | None = None) -> Iterator[Any]:
    """A binary, seekable file object of `uri`.

    Args:
        ahead: bytes that an object store sends at the first go, at least: many where all of the
            file will be read.
        size: bytes of the file where they are known, so that an object store is not asked.

    Raises:
        NotAFile: it is a pipe, device or socket.
        StorageError: it cannot be read, or a server does not say where it ends.
    """
    with _open(uri, ahead, size) as (file, claimed):
        if claimed is None:
            raise StorageError(
                f"{uri}: the server does not say how many bytes it has; download it, and use the "
                "file"
            )
        yield file


@contextmanager
def _open(uri: str, ahead: int, size: int | None = None) -> Iterator[tuple[Any, int | None]]:
    """A file and its bytes as the store has it; None where a server does not say where it ends."""
    fs, path = file_system(uri)
    if isinstance(fs, LocalFileSystem):
        with reported(uri, "read", OSError), open_regular(path) as file:
            yield file, os.fstat(file.fileno()).st_size
        return
    if isinstance(fs, AsyncFileSystem):
        if size is None:
            info = asked(uri, "read", lambda: fs.info(path))
            if info["type"] == "directory":
                raise FileNotFoundError(uri)
            size = info["size"]
        if size is not None:
            yield StoredFile(fs, path, uri, int(size), ahead), int(size)
            return
    with reported(uri, "read"):
        opened = fs.open(path, "rb")
    with reported(uri, "read", OSError), opened as file:
        yield file, getattr(file, "size", 0)


@contextmanager
def new_file(uri: str, mode: int = 0o666) -> Iterator[Path]:
    """A local path to write; `uri` appears, whole, when the block ends without an exception.

    On local storage the file is renamed into place, elsewhere uploaded. Either way a reader never
    sees half of it, and an exception or a killed process leaves `uri` as it was.

    Args:
        mode: permissions on local storage, of which the umask takes some.

    Raises:
        StorageError: the place cannot be written.
    """
    fs, path = file_system(uri)
    if isinstance(fs, LocalFileSystem):
        target = Path(path)
        with reported(uri, "written", OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            with unfinished_file(target, mode) as temporary:
                yield temporary
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
                os.replace(temporary, target)
        return
    with temporary_folder() as folder:
        temporary = folder / posixpath.basename(path)
        yield temporary
        asked(uri, "written", lambda: _upload(temporary, fs, path))


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file whole or not at all. Raises StorageError where it cannot be written."""
    with new_file(uri) as path:
        path.write_bytes(data)


def copy_file(source: Path, uri: str) -> None:
    """Copy a local file into storage, whole or not at all."""
    with new_file(uri) as path:
        shutil.copyfile(source, path)


def absolute(uri: str) -> str:
    """The URI without a slash at its end; of what is local, `file://` too, the absolute path.

    Raises:
        ConfigError: its name is not UTF-8.
    """
    path = local_path(uri)
    plain = uri.rstrip("/") if path is None else str(Path(path))
    files.require_utf8(plain)
    return plain


def local_folder(uri: str) -> Path:
    """The path of a folder, which has to be a local one.

    Raises:
        ConfigError: it is elsewhere.
    """
    path = local_path(uri)
    if path is None:
        raise ConfigError(f"{uri}: expected a folder of this machine")
    return Path(path)


def default_root() -> str:
    """$FACENET_STORAGE, or the folder `facenet-store` in the working folder."""
    return absolute(os.environ.get("FACENET_STORAGE") or "facenet-store")


def check_writable(root: str) -> None:
    """Fail early, before hours of work.

    Raises:
        StorageError: nothing can be written below `root`.
    """
    sweep_temporary_folders()
    probe = join(root, f".probe-{uuid.uuid4().hex}")
    try:
        write_bytes(probe, b"facenet")
        remove(probe)
    except StorageError as error:
        raise type(error)(f"{error}. Choose another storage root with --storage.") from None


def _upload(file: Path, fs: AbstractFileSystem, path: str) -> None:
    """Copy a file to a store, in parts side by side where it is large, and look what arrived."""
    parts: dict[str, Any] = {}
    if "s3" in fs.protocol:
        parts = {"chunksize": _UPLOAD_PART, "max_concurrency": _UPLOADS}
    fs.put_file(str(file), path, **parts)
    arrived, sent = fs.info(path)["size"], file.stat().st_size
    if arrived != sent:
        raise CutShort(f"{arrived} bytes arrived of {sent}")


def sweep(uri: str) -> None:
    """Remove the temporary files that processes left below a folder when they were killed."""
    if (path := local_path(uri)) is not None:
        sweep_files(Path(path))


def sha256(uri: str) -> str:
    """SHA-256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open_input(uri, ahead=BLOCK) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
