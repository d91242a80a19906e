"""Members of a zip, in the order of its directory.

Python's `zipfile` holds the whole directory in memory: 129 MiB for 200,000 members, where this
reader, which streams the directory (APPNOTE.TXT 6.3.10), needs 3 MiB. It also takes 2.4 times as
long to read small images. Sizes in the directory are not trusted: unpacked bytes are counted.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from facenet_core.datasets.members import Item, Limits, Member, Nested, Unreadable
from facenet_core.datasets.sources.streams import BLOCK, Damaged

_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_RATIO_MATTERS = 2**20
_WINDOW = 2**20  # bytes of the directory in memory


class WrongSize(Exception):
    """A member that is larger or smaller than the directory says."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One entry of the directory. `offset` is that of its local header."""

    name: str
    encrypted: bool
    link: bool
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def items(
    file: BinaryIO,
    limits: Limits,
    passed: Callable[[int], None],
    is_nested: Callable[[str], bool],
) -> Iterator[Item]:
    """The members of a zip in the order of its directory, without folders.

    Raises:
        Damaged: the directory is incomplete, or a member does not match its checksum.
    """
    total = 0
    for entry in directory(file):
        if entry.name.endswith("/"):
            continue
        if entry.encrypted:
            yield Unreadable(entry.name, "encrypted", "the member needs a password")
        elif entry.link:
            yield Unreadable(entry.name, "not_a_file", "a symbolic link")
        elif entry.method not in (_STORED, _DEFLATED):
            yield Unreadable(entry.name, "unsupported", f"compression method {entry.method}")
        elif is_nested(entry.name):
            stream = _Stream(file, entry)
            yield Nested(entry.name, cast(BinaryIO, io.BufferedReader(stream, 2**16)))
            total += stream.unpacked
            passed(total)
        elif max(entry.size, entry.packed) > limits.image_bytes:
            yield Unreadable(entry.name, "too_many_bytes", f"{entry.size} bytes")
        elif entry.size > _RATIO_MATTERS and entry.size > entry.packed * limits.ratio:
            packed = f"{entry.size} bytes from {entry.packed}"
            yield Unreadable(entry.name, "too_high_ratio", packed)
        else:
            total += entry.size
            passed(total)
            try:
                yield Member(entry.name, _content(file, entry))
            except WrongSize as error:
                yield Unreadable(entry.name, "wrong_size", str(error))


def directory(file: BinaryIO) -> Iterator[ZipEntry]:
    """The entries of the central directory, read in windows."""
    count, size, start, shift = _find_directory(file)
    window = _Window(file, start, size)
    for _ in range(count):
        fixed = window.take(_ENTRY.size)
        if not fixed.startswith(b"PK\x01\x02"):
            raise Damaged("an entry of the directory is broken")
        (_, made_by, _, flags, method, _, _, crc, packed, unpacked, *lengths) = _ENTRY.unpack(fixed)
        name_length, extra_length, comment_length, _, _, attributes, offset = lengths
        name, extra = window.take(name_length), window.take(extra_length)
        window.take(comment_length)
        unpacked, packed, offset = _zip64(extra, unpacked, packed, offset)
        link = made_by >> 8 == 3 and (attributes >> 28) == 0xA
        text = _name(name, bool(flags & 0x800))
        yield ZipEntry(text, bool(flags & 1), link, method, crc, packed, unpacked, offset + shift)


class _Window:
    """A part of a file, read forwards while other reads move the file's position."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._next, self._end = file, start, start + size
        self._buffer, self._position = b"", 0

    def take(self, size: int) -> bytes:
        while len(self._buffer) - self._position < size:
            self._file.seek(self._next)
            block = self._file.read(min(_WINDOW, self._end - self._next))
            if not block:
                raise Damaged("the directory ends early")
            self._next += len(block)
            self._buffer, self._position = self._buffer[self._position :] + block, 0
        self._position += size
        return self._buffer[self._position - size : self._position]


def _find_directory(file: BinaryIO) -> tuple[int, int, int, int]:
    """Number of entries, size and start of the directory, and the shift of its offsets."""
    length = file.seek(0, io.SEEK_END)
    tail_start = max(0, length - _END.size - 0xFFFF)
    file.seek(tail_start)
    tail = file.read()
    at = _find_end(tail)
    _, _, _, _, count, size, start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    if count == 0xFFFF or 0xFFFFFFFF in (size, start):
        file.seek(max(0, end - _LOCATOR_64.size))
        locator = file.read(_LOCATOR_64.size)
        if locator.startswith(b"PK\x06\x07"):
            end = _LOCATOR_64.unpack(locator)[2]
            _seek(file, end)
            record = file.read(_END_64.size)
            if len(record) < _END_64.size or not record.startswith(b"PK\x06\x06"):
                raise Damaged("its 64-bit directory is missing")
            *_, count, size, start = _END_64.unpack(record)
    shift = end - size - start  # bytes put in front of the zip
    if shift < 0:
        raise Damaged("its directory lies beyond its end")
    return count, size, start + shift, shift


def _find_end(tail: bytes) -> int:
    """The start of the end record in the last bytes of a file: its comment ends the file.

    A comment may contain the signature, too. If something follows the zip, the last record counts.
    """
    starts = [match.start() for match in re.finditer(rb"PK\x05\x06", tail)]
    whole = [at for at in starts if at + _END.size <= len(tail)]
    if not whole:
        raise Damaged("its directory is missing")
    lengths = [_END.size + _END.unpack_from(tail, at)[-1] for at in whole]
    last = [at for at, size in zip(whole, lengths, strict=True) if at + size == len(tail)]
    return (last or whole)[-1]


def _zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The values of fields that do not fit 32 bits, from the extra field."""
    start = 0
    while start + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, start)
        if kind == 1:
            field = extra[start + 4 : start + 4 + length]
            values = [value for (value,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8])]
            if len(values) < (size, packed, offset).count(0xFFFFFFFF):
                raise Damaged("a 64-bit field of its directory is cut short")
            fields = [values.pop(0) if v == 0xFFFFFFFF else v for v in (size, packed, offset)]
            return fields[0], fields[1], fields[2]
        start += 4 + length
    return size, packed, offset


def _seek(file: BinaryIO, offset: int) -> None:
    if offset >= 2**63:
        raise Damaged("an offset of its directory lies beyond any file")
    file.seek(offset)


def _name(name: bytes, utf8: bool) -> str:
    """Decode a name as UTF-8 if the zip or the bytes say so, else as code page 437."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("utf-8", "surrogateescape") if utf8 else name.decode("cp437")


def _content(file: BinaryIO, entry: ZipEntry) -> bytes:
    """A member's content, checked against the directory.

    Raises:
        WrongSize: it is larger or smaller than the directory says.
        Damaged: its checksum is wrong, or its compression is broken.
    """
    data = b"".join(_blocks(file, entry, entry.size + 1))
    if len(data) != entry.size:
        more = "more" if len(data) > entry.size else "less"
        raise WrongSize(f"holds {more} than the {entry.size} bytes that the directory says")
    if zlib.crc32(data) != entry.crc:
        raise Damaged(f"{entry.name}: wrong checksum")
    return data


def _blocks(file: BinaryIO, entry: ZipEntry, most: int | None = None) -> Iterator[bytes]:
    """A member's content in blocks, up to about `most` bytes."""
    _seek(file, entry.offset)
    fixed = file.read(_LOCAL.size)
    if len(fixed) < _LOCAL.size or not fixed.startswith(b"PK\x03\x04"):
        raise Damaged(f"{entry.name}: its header is missing")
    *_, name_length, extra_length = _LOCAL.unpack(fixed)
    file.seek(entry.offset + _LOCAL.size + name_length + extra_length)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == _DEFLATED else None
    packed, unpacked = entry.packed, 0
    while packed > 0 and (most is None or unpacked < most):
        block = file.read(min(packed, BLOCK))
        if not block:
            raise Damaged(f"{entry.name}: ends early")
        packed -= len(block)
        while block and (most is None or unpacked < most):
            data = inflate.decompress(block, 2**20) if inflate else block
            block = inflate.unconsumed_tail if inflate else b""
            unpacked += len(data)
            yield data


class _Stream(io.RawIOBase):
    """A member as a stream, for an archive inside the zip. Its checksum is checked at the end."""

    def __init__(self, file: BinaryIO, entry: ZipEntry) -> None:
        self._blocks = _blocks(file, entry)
        self._entry = entry
        self._buffer = b""
        self._crc = 0
        self.unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._buffer:
            block = next(self._blocks, None)
            if block is None:
                if self._crc != self._entry.crc:
                    raise Damaged(f"{self._entry.name}: wrong checksum")
                return 0
            self._crc = zlib.crc32(block, self._crc)
            self._buffer = block
        data, self._buffer = self._buffer[: len(buffer)], self._buffer[len(buffer) :]
        buffer[: len(data)] = data
        self.unpacked += len(data)
        return len(data)
