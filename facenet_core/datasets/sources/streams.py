"""Exact reads from a stream: complete blocks or an error, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from facenet_core.errors import StorageError

BLOCK = 2**18
_ZSTD = b"\x28\xb5\x2f\xfd"


class Damaged(Exception):
    """An archive that does not follow its format, or is cut short."""


class Reported:
    """A file in storage. A failed read is a StorageError, not damage of the archive."""

    def __init__(self, file: BinaryIO, uri: str) -> None:
        self._file, self._uri = file, uri

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:  # stores also raise it when a connection breaks
            raise StorageError(f"{self._uri}: cannot be read: {error!r}") from error

    def seek(self, position: int, whence: int = 0) -> int:
        return self._file.seek(position, whence)

    def seekable(self) -> bool:
        return self._file.seekable()


class Counted(io.RawIOBase):
    """A stream that counts the bytes read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class Section(io.RawIOBase):
    """The next `size` bytes of a stream, as a stream."""

    def __init__(self, take: Callable[[int], bytes], size: int) -> None:
        self._take = take
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._take(min(len(buffer), self.left, BLOCK))
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)


class Blocks:
    """Reads exact numbers of bytes from a stream, through a buffer of one block.

    Args:
        read: reads at most that many bytes; fewer at the end, or from a pipe.
        passed: called with the number of bytes read so far, to check limits.
    """

    def __init__(self, read: Callable[[int], bytes], passed: Callable[[int], None]) -> None:
        self._read = read
        self._passed = passed
        self._buffer = b""
        self._position = 0
        self.total = 0

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises EOFError if the stream has fewer."""
        start = self._position
        end = start + size
        if end <= len(self._buffer):
            self._position = end
            return self._buffer[start:end]
        pieces = [self._buffer[start:]]
        missing = size - len(pieces[0])
        self._buffer, self._position = b"", 0
        while missing > 0:
            block = self._next(BLOCK)
            if not block:
                raise EOFError(f"ends {missing} bytes early, after {self.total}")
            if len(block) > missing:
                self._buffer, self._position = block, missing
                block = block[:missing]
            pieces.append(block)
            missing -= len(block)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.take(min(size, BLOCK)))

    def at_end(self) -> bool:
        """Whether nothing is left."""
        if self._position == len(self._buffer):
            self._buffer, self._position = self._next(BLOCK), 0
        return not self._buffer

    def rest_is_zeros(self) -> bool:
        """Read to the end, which checks a compressed stream's checksum; whether all was zeros."""
        while not self.at_end():
            if self._buffer[self._position :].strip(b"\0"):
                return False
            self._position = len(self._buffer)
        return True

    def _next(self, size: int) -> bytes:
        block = self._read(size)
        self.total += len(block)
        self._passed(self.total)
        return block


def compression(start: bytes) -> str | None:
    """The compression of a stream with these first bytes, or None."""
    for signature, name in ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ", "xz")):
        if start.startswith(signature):
            return name
    return "zstd" if start.startswith(_ZSTD) else None


def decompressed(file: BinaryIO, kind: str | None) -> BinaryIO:
    """The decompressed content of `file`, as a stream."""
    if kind == "zstd":
        import pyarrow as pa

        return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"))
    openers: dict[str, Callable[[BinaryIO], Any]]
    openers = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    return cast(BinaryIO, openers[kind](file)) if kind else file
