"""Reading what strangers may have made: bounded, from regular files, none taken short.

Files of an object store are Python files here: range requests, several at a time.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from facenet_core.errors import NotAFile, TooLarge
from facenet_core.storage.retrying import CutShort, reported, retried, transient

# Bytes of one request; more than this is asked for in requests side by side.
BLOCK = 8 * 2**20
LONGEST_AHEAD = 32 * 2**20
AHEAD = 64 * 2**10
# The most bytes of one file that are taken into memory, where its kind has no limit of its own.
LARGEST_IN_MEMORY = 2**30


def open_regular(path: str | Path) -> BinaryIO:
    """A local file to read; a pipe is refused without waiting for its other end.

    Raises:
        NotAFile: it is a pipe, device or socket.
        OSError: it is missing, a folder, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # of a folder, `open` says so
        try:
            return open(descriptor, "rb")
        except OSError as error:
            os.close(descriptor)
            error.filename = os.fspath(path)
            raise
    os.close(descriptor)
    raise NotAFile(f"{path}: a pipe, device or socket; expected a file")


def read_local(path: str | Path, limit: int = LARGEST_IN_MEMORY) -> bytes:
    """All of a local file. Raises as `open_regular`, and TooLarge beyond `limit` bytes."""
    with open_regular(path) as file:
        return read_up_to(file, limit, str(path), os.fstat(file.fileno()).st_size)


def read_up_to(file: BinaryIO, limit: int, name: str, expected: int = 0) -> bytes:
    """All that a file has, if that is at most `limit` bytes.

    Args:
        name: of the file, for the error.
        expected: bytes that it probably has.

    Raises:
        TooLarge: it has more; no more than `limit` + 1 of them were read.
    """
    return b"".join(blocks_up_to(file, limit, name, expected))


def blocks_up_to(file: BinaryIO, limit: int, name: str, expected: int = 0) -> Iterator[bytes]:
    """The same in blocks."""
    if expected > limit:
        raise TooLarge(f"{name}: {expected:,} bytes, more than the {limit:,} that are read")
    left = limit + 1
    block_size = max(expected + 1, AHEAD)
    while block := file.read(min(left, block_size)):
        left -= len(block)
        if not left:
            raise TooLarge(f"{name}: more than the {limit:,} bytes that are read")
        yield block
        block_size = BLOCK


class StoredFile(io.RawIOBase):
    """A file for reading. Sequential reads trigger read-ahead.

    Parquet, zip and tar readers alike look at an end of the file and then go through it, or jump.
    A jump costs one request for what is asked; reading on reads ahead, each time four times
    further, up to 32 MiB.

    Args:
        fs: an asynchronous fsspec file system.
        path: path within it.
        uri: what the file is called in errors.
        size: its bytes.
        ahead: bytes to read at the first go, at least.

    Raises (from every read):
        FileNotFoundError: the file vanished.
        StorageError: it cannot be read, or not in full.
    """

    def __init__(self, fs: Any, path: str, uri: str, size: int, ahead: int = AHEAD) -> None:
        super().__init__()
        self._fs, self._path, self._uri, self._size = fs, path, uri, size
        self._position = 0
        self._ahead = self._first_ahead = ahead
        self._held, self._held_from = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._position, self._size)[whence]
        if start + offset < 0:
            raise ValueError(f"{self._uri}: cannot seek to {start + offset}")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        start = self._position
        end = self._size if size is None or size < 0 else min(self._size, start + size)
        if end <= start:
            return b""
        held_to = self._held_from + len(self._held)
        if not self._held_from <= start <= end <= held_to:
            reads_on = self._held_from <= start <= held_to and self._held
            self._ahead = min(self._ahead * 4, LONGEST_AHEAD) if reads_on else self._first_ahead
            wanted = min(self._size, max(end, start + self._ahead))
            self._held, self._held_from = self._fetch(start, wanted), start
        self._position = end
        return self._held[start - self._held_from : end - self._held_from]

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self.read()

    def _fetch(self, start: int, end: int) -> bytes:
        ranges = [
            (self._path, first, min(first + BLOCK, end)) for first in range(start, end, BLOCK)
        ]
        with reported(self._uri, "read"):
            parts = fetch(self._fs, self._uri, ranges)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def fetch(fs: Any, uri: str, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Ranges of files, all asked for at once; those that fail or come short are asked for again.

    Args:
        fs: an asynchronous fsspec file system.
        uri: what is read, or the folder of it.
        ranges: path, first byte, and the byte behind the last.

    Raises:
        Exception: whatever the file system raises, each store its own kinds; CutShort.
    """
    contents: dict[int, bytes] = {number: b"" for number, (_, a, b) in enumerate(ranges) if a == b}

    def fetch_missing() -> None:
        missing = [number for number in range(len(ranges)) if number not in contents]
        if not missing:
            return
        paths, starts, ends = zip(*(ranges[number] for number in missing), strict=True)
        answers = fs.cat_ranges(list(paths), list(starts), list(ends), on_error="return")
        failure: BaseException | None = None
        for number, answer in zip(missing, answers, strict=True):
            path, start, end = ranges[number]
            if isinstance(answer, BaseException):
                # What no other try can cure is what is said.
                failure = answer if failure is None or transient(failure) else failure
            elif len(answer) != end - start:
                came = f"{path}: {len(answer)} bytes came of {end - start} from byte {start}"
                failure = failure or CutShort(came)
            else:
                contents[number] = answer
        if failure is not None:
            raise failure

    retried(uri, fetch_missing)
    return [contents[number] for number in range(len(ranges))]
