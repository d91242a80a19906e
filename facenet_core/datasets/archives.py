"""Members of an archive, one at a time, straight from its stream: nothing is unpacked to disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol, cast

from facenet_core import storage
from facenet_core.datasets.members import Member, Unreadable
from facenet_core.errors import SourceError

_DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError)
_BROKEN += (NotImplementedError,)  # a zip's compression that Python does not know


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def is_archive(uri: str) -> bool:
    """Whether the file's first bytes are those of a zip, a tar or a compressed tar."""
    with storage.open_input(uri) as file:
        start = file.read(262)
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06", *_DECOMPRESSORS)) or _is_tar(start)


def members(uri: str, max_bytes: int) -> Iterator[Member | Unreadable]:
    """The files of an archive in the order in which it holds them.

    Args:
        uri: `.tar`, plain or compressed with gzip, bzip2 or xz, or `.zip`; known by content.
        max_bytes: larger members are not read.

    Raises:
        SourceError: the archive ends early or is damaged.
    """
    try:
        with storage.open_input(uri) as file:
            start = file.read(262)
            file.seek(0)
            if start.startswith(b"PK"):
                yield from _zip_members(file, max_bytes)
            else:
                yield from _tar_members(file, start, max_bytes)
    except _BROKEN as error:
        raise SourceError(
            f"{uri}: the archive is cut short or damaged ({error}); fetch it again"
        ) from error
    except OSError as error:  # gzip and bz2 say so of wrong checksums
        raise SourceError(f"{uri}: the archive is damaged: {error}") from error


def _tar_members(file: BinaryIO, start: bytes, max_bytes: int) -> Iterator[Member | Unreadable]:
    stream: _Readable = file
    for signature, decompress in _DECOMPRESSORS.items():
        if start.startswith(signature):
            stream = cast(_Readable, decompress(file))
    with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|", bufsize=2**18) as tar:
        for entry in tar:
            if entry.isdir():
                continue
            if not entry.isfile():
                yield Unreadable(entry.name, "not_a_file", "a link, device or pipe")
            elif entry.size > max_bytes:
                yield Unreadable(entry.name, "too_many_bytes", f"{entry.size} bytes")
            else:
                content = tar.extractfile(entry)
                assert content is not None  # it is a regular file
                data = content.read()
                if len(data) != entry.size:
                    raise EOFError(f"{entry.name} ends early")
                yield Member(entry.name, data)
        _require_end(cast(_Readable, tar.fileobj), tar.offset)


def _require_end(stream: _Readable, offset: int) -> None:
    """Check that an archive ends where tarfile stopped reading it.

    tarfile takes a stream that ends between two members, and one with a damaged header, for an
    archive that ends there. A whole one ends with a block of zeros, which tarfile has read, and
    nothing but zeros follows. Reading to the last byte also checks a compressed stream's sum.
    """
    more = False
    while block := stream.read(2**20):
        more = True
        if block.strip(b"\0"):
            raise EOFError("a header is damaged")
    if not more:
        raise EOFError(f"no end-of-archive mark at byte {offset}")


def _zip_members(file: BinaryIO, max_bytes: int) -> Iterator[Member | Unreadable]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            if entry.flag_bits & 0x1:
                yield Unreadable(entry.filename, "encrypted", "the member wants a password")
                continue
            with archive.open(entry) as content:
                data = content.read(max_bytes + 1)  # the size in the directory may be a lie
            if len(data) > max_bytes:
                yield Unreadable(entry.filename, "too_many_bytes", f"more than {max_bytes} bytes")
            else:
                yield Member(entry.filename, data)


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar" or _old_tar_checksum(start)


def _old_tar_checksum(start: bytes) -> bool:
    """Tars from before POSIX have no signature, only a header that parses."""
    try:
        tarfile.TarInfo.frombuf(start.ljust(512, b"\0"), tarfile.ENCODING, "surrogateescape")
    except tarfile.TarError:
        return False
    return True
