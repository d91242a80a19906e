"""Ways to damage bytes: what transmission, disks and people who mean harm do to a file."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random

_NUMBERS = (0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_TOKENS = (
    b"\0", b"\n", b"\r\n", b"\t", b",", b":", b"=", b'"', b"'", b"{", b"}", b"[", b"]", b"/", b"..",
    b"../../", b"\\", b"-1", b"1e999", b"nan", b"NaN", b"Infinity", b"null", b"true", b"{}", b"[]",
    b"99999999999999999999", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J", b"%s", b"&a", b"*a",
    b"!!python/none", "ß".encode(), "\u202e".encode(), "\u0660".encode(), "\u2028".encode(),
    b"\xed\xa0\x80",
    b"<script>", b"file:///", b"PK\x03\x04", b"PAR1",
)  # fmt: skip
_LONGEST = 2**18  # bytes of an input that repetition may make


def flip_bits(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def replace_bytes(data: bytearray, random: Random) -> None:
    offset = random.randrange(len(data))
    length = random.choice((1, 2, 4, 16))
    data[offset : offset + length] = random.randbytes(length)


def truncate(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data)) :]


def cut_out(data: bytearray, random: Random) -> None:
    offset = random.randrange(len(data))
    del data[offset : offset + random.choice((1, 3, 8, 64, 512))]


def repeat(data: bytearray, random: Random) -> None:
    offset = random.randrange(len(data))
    block = data[offset : offset + random.choice((1, 4, 16, 128, 512))]
    times = min(random.choice((1, 2, 10, 1000)), max(1, _LONGEST // max(1, len(block))))
    data[offset:offset] = block * times


def move(data: bytearray, random: Random) -> None:
    """Copy a stretch to another place, where it overwrites what is there."""
    length = random.choice((4, 16, 64, 512))
    source, target = random.randrange(len(data)), random.randrange(len(data))
    data[target : target + length] = data[source : source + length]


def write_number(data: bytearray, random: Random) -> None:
    """A length or an offset that lies: a binary number, any width and order."""
    kind = random.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(kind)
    number = random.choice((*_NUMBERS, random.getrandbits(16))) & (1 << 8 * size) - 1
    offset = random.randrange(len(data))
    data[offset : offset + size] = struct.pack(kind, number)


def insert_token(data: bytearray, random: Random) -> None:
    offset = random.randrange(len(data) + 1)
    data[offset:offset] = random.choice(_TOKENS)


def replace_digits(data: bytearray, random: Random) -> None:
    """Another number where one is written out."""
    offsets = [offset for offset, byte in enumerate(data[:65536]) if 48 <= byte <= 57]
    if not offsets:
        return insert_token(data, random)
    offset = random.choice(offsets)
    end = offset
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    data[offset:end] = str(random.choice((*_NUMBERS, -1, 10**30))).encode()
    return None


def swap_lines(data: bytearray, random: Random) -> None:
    lines = data.split(b"\n")
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    data[:] = b"\n".join(lines)


_BINARY: tuple[Callable[[bytearray, Random], None], ...] = (
    flip_bits, replace_bytes, truncate, cut_out, repeat, move, write_number, write_number,
    insert_token,
)  # fmt: skip
_TEXT = (*_BINARY, insert_token, insert_token, replace_digits, replace_digits, swap_lines)


def mutated(seeds: Sequence[bytes], random: Random, *, text: bool) -> bytes:
    """One of the seeds, damaged once or a few times; now and then the splice of two."""
    data = bytearray(random.choice(seeds))
    if random.random() < 0.1:
        other = random.choice(seeds)
        data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        if data:
            random.choice(_TEXT if text else _BINARY)(data, random)
    return bytes(data)
