"""Members of a tar, read from its stream.

Python's `tarfile` keeps every header in memory, reads a header of any size, and takes most of the
time that small images need. This reads the formats that photographs come in (POSIX.1-2001 pax,
ustar, GNU and older tars) and reports every other kind of member by its name.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from facenet_core.datasets.members import Item, Limits, Member, Nested, Unreadable
from facenet_core.datasets.sources.streams import Blocks, Damaged, Section

_BLOCK = 512
_LONGEST_HEADER = 2**20  # bytes of a long name or of pax records
_RATIO_MATTERS = 2**20  # bytes; smaller members are harmless
_READ_AHEAD = 2**17  # bytes that decompressors may read ahead of their output
_REGULAR = (b"0", b"\0", b"7")
_WITHOUT_CONTENT = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
}


def items(
    stream: BinaryIO,
    limits: Limits,
    passed: Callable[[int], None],
    consumed: Callable[[], int],
    is_nested: Callable[[str], bool],
) -> Iterator[Item]:
    """The members of a tar in order, without folders.

    Args:
        stream: the decompressed tar.
        passed: called with the bytes of the tar read so far; raises if they are too many.
        consumed: bytes of the compressed stream read so far.
        is_nested: whether a member is itself an archive.

    Raises:
        EOFError: the tar ends early.
        Damaged: a header's checksum or numbers are wrong.
    """
    blocks = Blocks(stream.read, passed)
    name: str | None = None
    pax: dict[str, str] = {}
    while True:
        if blocks.at_end():
            raise EOFError(f"no end-of-archive mark at byte {blocks.total}")
        header = blocks.take(_BLOCK)
        if not header[0] and not header.strip(b"\0"):
            if not blocks.rest_is_zeros():
                raise Damaged("there is more after the end-of-archive mark")
            return
        _check_sum(header)
        kind, size = header[156:157], _number(header[124:136])
        if kind == b"L":
            name = _text(_padded(blocks, size).partition(b"\0")[0])
            continue
        if kind in (b"x", b"X"):
            pax = _pax(_padded(blocks, size))
            continue
        if kind in (b"K", b"g"):  # a long name of a link, and records for all members that follow
            _padded(blocks, size)
            continue
        path, sparse = name or _name(header), kind == b"S"
        if pax:
            path, size = pax.get("path", path), _pax_size(pax, size)
            sparse = sparse or any(key.startswith("GNU.sparse.") for key in pax)
        name, pax = None, {}
        if kind == b"5" or (kind in _REGULAR and path.endswith("/")):
            continue
        if kind in _WITHOUT_CONTENT:
            yield Unreadable(path, "not_a_file", _WITHOUT_CONTENT[kind])
            continue
        padding = -size % _BLOCK
        if kind not in _REGULAR or sparse:
            _skip_sparse_map(blocks, header, kind)
            blocks.skip(size + padding)
            yield Unreadable(path, "not_a_file", "a sparse file" if sparse else f"type {kind!r}")
        elif is_nested(path):
            section = Section(blocks.take, size)
            yield Nested(path, cast(BinaryIO, io.BufferedReader(section, 2**16)))
            blocks.skip(section.left + padding)
        elif size > limits.image_bytes:
            blocks.skip(size + padding)
            yield Unreadable(path, "too_many_bytes", f"{size} bytes")
        elif size <= _RATIO_MATTERS:
            yield Member(path, blocks.take(size + padding)[:size])
        else:
            before = consumed()
            data = blocks.take(size)
            if size > (consumed() - before + _READ_AHEAD) * limits.ratio:
                yield Unreadable(path, "too_high_ratio", f"{size} bytes from next to none")
            else:
                yield Member(path, data)
            blocks.take(padding)


def is_header(block: bytes) -> bool:
    """Whether 512 bytes begin a tar: some have no signature, only a correct checksum."""
    if len(block) < _BLOCK or not block.strip(b"\0"):
        return False
    try:
        _check_sum(block)
    except Damaged:
        return False
    return True


def _check_sum(header: bytes) -> None:
    """The sum of a header's bytes, its own field counted as blanks.

    The low half of Adler-32 is 1 plus that sum, modulo 65521, many times faster than `sum`.
    """
    field = header[148:156]
    unsigned = (zlib.adler32(header) & 0xFFFF) - 1 - sum(field) + 8 * 32
    difference = unsigned - _number(field)
    if difference % 65521:
        high = sum(byte > 127 for byte in header) - sum(byte > 127 for byte in field)
        if (difference - 256 * high) % 65521:  # some old tars summed signed bytes
            raise Damaged("a header is damaged")


def _number(field: bytes) -> int:
    """An octal number, or, from GNU tar, a binary one."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    if digits.isdigit() and b"8" not in digits and b"9" not in digits:
        return int(digits, 8)
    raise Damaged(f"a header is damaged: {field!r} is not a number")


def _padded(blocks: Blocks, size: int) -> bytes:
    if size > _LONGEST_HEADER:
        raise Damaged(f"a header of {size} bytes")
    data = blocks.take(size)
    blocks.take(-size % _BLOCK)
    return data


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return _text(name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _pax(data: bytes) -> dict[str, str]:
    """Records `LENGTH KEY=VALUE\\n` of an extended header."""
    records: dict[str, str] = {}
    start = 0
    while match := re.compile(rb"(\d{1,9}) ([^=\n]+)=").match(data, start):
        end = start + int(match[1])
        if end <= match.end() or end > len(data) or data[end - 1 : end] != b"\n":
            break
        records[_text(match[2])] = _text(data[match.end() : end - 1])
        start = end
    if data[start:].strip(b"\0"):
        raise Damaged("an extended header is damaged")
    return records


def _pax_size(pax: dict[str, str], size: int) -> int:
    if "size" not in pax:
        return size
    if not re.fullmatch(r"[0-9]{1,20}", pax["size"]):
        raise Damaged(f"an extended header is damaged: size {pax['size']!r:.40}")
    return int(pax["size"])


def _skip_sparse_map(blocks: Blocks, header: bytes, kind: bytes) -> None:
    more = kind == b"S" and header[482]
    while more:
        more = blocks.take(_BLOCK)[504]
