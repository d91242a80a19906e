"""Files and folders for the time of writing, and removing those that killed processes left behind.

A writer holds a lock on its file. The kernel releases the lock when the process ends, however it
ends, and containers see it although they have process ids and host names of their own.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np

from facenet_core.errors import StorageError

# File systems that two machines share need not show one the locks of the other.
_OLD_ENOUGH = 7 * 24 * 3600  # seconds since the last change
_FILE = re.compile(r"\..+\.([0-9a-f]{12})\.\d+\.[0-9a-f]{32}\.tmp")
_FOLDER = re.compile(r"facenet-([0-9a-f]{12})-.+")


@contextmanager
def unfinished_file(target: Path, mode: int) -> Iterator[Path]:
    """A new, empty file beside `target` to write and to rename; else it is removed at the end.

    Args:
        mode: permissions, of which the umask takes some.
    """
    writer = f"{_machine()}.{os.getpid()}.{uuid.uuid4().hex}"  # the process is for people to see
    file = target.with_name(f".{target.name}.{writer}.tmp")
    while (lock := _locked(file, os.O_RDWR | os.O_CREAT, mode)) is None:
        pass
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in $TMPDIR that nobody else may look into, removed at the end."""
    sweep_temporary_folders()
    lock = None
    while lock is None:
        folder = Path(tempfile.mkdtemp(prefix=f"facenet-{_machine()}-"))
        lock = _locked(folder, os.O_RDONLY)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def scratch(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array of zeros on disk, in $TMPDIR, that goes when nobody refers to it any more.

    Raises:
        StorageError: there is no room for it.
    """
    size = 4 * math.prod(shape)
    if not size:
        return np.zeros(shape, np.float32)
    try:
        with tempfile.TemporaryFile() as file:
            # Writing to a mapped file for which the disk has no room would kill the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.float32, "w+", shape=shape)
    except OSError as error:
        raise StorageError(
            f"{tempfile.gettempdir()}: no room for {size / 2**30:.2g} GiB ({error.strerror}); set "
            "TMPDIR to a folder on a larger disk"
        ) from None


def sweep_files(folder: Path) -> None:
    """Remove the files below a folder that processes were writing when they were killed."""
    for file in folder.rglob(".*.tmp"):
        if name := _FILE.fullmatch(file.name):
            _remove_if_abandoned(file, name[1])


def sweep_temporary_folders() -> None:
    """Remove the folders in $TMPDIR that processes left when they were killed."""
    _sweep_once(tempfile.gettempdir(), os.getpid())


@cache
def _sweep_once(folder: str, process: int) -> None:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = _FOLDER.fullmatch(entry.name)
            if name and entry.is_dir(follow_symlinks=False):
                _remove_if_abandoned(Path(entry.path), name[1])


def _locked(path: Path, flags: int, mode: int = 0) -> int | None:
    """A descriptor that holds the lock of a file or folder of one's own.

    None where somebody who sweeps took it for abandoned before it was locked.
    """
    try:
        descriptor = os.open(path, flags, mode)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a file system without locks: there, nothing is swept
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    os.close(descriptor)
    return None


def _remove_if_abandoned(path: Path, machine: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:  # gone, or somebody else's
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        age = time.time() - os.fstat(descriptor).st_mtime
        if machine == _machine() or age > _OLD_ENOUGH:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError:  # it is being written, or nobody can say
        pass
    finally:
        os.close(descriptor)


@cache
def _machine() -> str:
    """What the containers of a machine have in common, and no two machines: 12 hex digits."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:  # not Linux
        boot = str(uuid.getnode())
    return hashlib.sha256(boot.encode()).hexdigest()[:12]
