"""Archives, recognised by their content: tar (plain or compressed) and zip. Read in place."""

from __future__ import annotations

import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from facenet_core import storage
from facenet_core.datasets.members import Fingerprint, Item, Limits
from facenet_core.datasets.sources import tar, zipped
from facenet_core.datasets.sources.fingerprints import file_fingerprint
from facenet_core.datasets.sources.streams import (
    Counted,
    Damaged,
    Reported,
    compression,
    decompressed,
)
from facenet_core.errors import SourceError

EXTENSIONS: tuple[str, ...] = (".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".zip")
EXTENSIONS += (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
_NESTED = (*EXTENSIONS, ".rec")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, Damaged)
_SPOOLED = 2**26  # bytes of a zip inside an archive that stay in memory


@dataclass(frozen=True)
class Archive:
    """`.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz`, `.tar.zst` or `.zip`, anywhere in storage."""

    uri: str
    wrapped: bool = True

    def fingerprint(self) -> Fingerprint:
        return file_fingerprint(self.uri)

    def items(self, limits: Limits) -> Iterator[Item]:
        with storage.open_input(self.uri) as file:
            yield from read(cast(BinaryIO, Reported(file, self.uri)), self.uri, limits)


def is_archive(start: bytes) -> bool:
    """Whether a file's first 512 bytes are those of a zip, a tar or a compressed stream."""
    return start.startswith(_ZIP) or compression(start) is not None or tar.is_header(start)


def read(file: BinaryIO, name: str, limits: Limits) -> Iterator[Item]:
    """The members of an open archive, in its order.

    Args:
        file: the archive; a zip that is not seekable is copied to a temporary file.
        name: the archive's name in errors.

    Raises:
        SourceError: the archive ends early, is damaged, or unpacks to too much.
    """

    def passed(unpacked: int) -> None:
        limits.check_total(name, unpacked)

    with named(name):
        counted = Counted(file)
        buffered = io.BufferedReader(counted, 2**16)
        start = buffered.peek(512)[:512]
        if start.startswith(_ZIP):
            with _seekable(file, cast(BinaryIO, buffered)) as seekable:
                yield from zipped.items(seekable, limits, passed, is_nested)
            return
        stream = decompressed(cast(BinaryIO, buffered), compression(start))
        consumed: Callable[[], int] = lambda: counted.count  # noqa: E731
        yield from tar.items(stream, limits, passed, consumed, is_nested)


def is_nested(path: str) -> bool:
    """Whether a member's name is that of an archive or record file, which is read in place."""
    return path.lower().endswith(_NESTED) and not storage.is_system_file(path)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turn the errors of decompressors into a SourceError."""
    try:
        yield
    except _BROKEN as error:
        raise SourceError(
            f"{name}: the archive is cut short or damaged ({error}); fetch it again"
        ) from error
    except OSError as error:  # gzip, bz2 and Arrow raise it for wrong checksums
        raise SourceError(f"{name}: the archive is damaged: {error}") from error


@contextmanager
def _seekable(file: BinaryIO, buffered: BinaryIO) -> Iterator[BinaryIO]:
    if file.seekable():
        yield file
        return
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spooled:
        shutil.copyfileobj(buffered, spooled, 2**20)
        yield cast(BinaryIO, spooled)
