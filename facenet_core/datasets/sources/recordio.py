"""InsightFace's `train.rec`: images and labels in MXNet's RecordIO, read without MXNet.

A record is `magic, flag and length, data, padding to 4 bytes` (dmlc-core, recordio.h); one whose
data holds the magic number comes in several pieces. Its data is MXNet's IRHeader
(`flag, label, id, id2`, then `flag` further labels) and the encoded picture. Records without a
picture are InsightFace's: number 0 says where the pictures end, those after them list each
identity's pictures.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

from facenet_core import storage
from facenet_core.datasets.members import Fingerprint, Item, Limits, Member, Unreadable
from facenet_core.datasets.rows import extension
from facenet_core.datasets.sources.fingerprints import file_fingerprint
from facenet_core.datasets.sources.streams import Blocks
from facenet_core.errors import SourceError

MAGIC = 0xCED7230A
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_EARLY = "cut short or damaged"


@dataclass(frozen=True)
class RecordFile:
    """`train.rec`, checked against the `train.idx` beside it if there is one."""

    uri: str
    wrapped: bool = False

    def fingerprint(self) -> Fingerprint:
        return file_fingerprint(self.uri)

    def items(self, limits: Limits) -> Iterator[Item]:
        records = _records_of_index(self.uri.removesuffix(".rec") + ".idx")
        with storage.open_input(self.uri) as file:
            yield from read(file, self.uri, limits, records)


def read(file: BinaryIO, name: str, limits: Limits, expected: int | None = None) -> Iterator[Item]:
    """The pictures of a record file as `0000042/00000123.jpg`: label, and number of the record.

    Labels have 7 digits, so that identities sort as the labels did.

    Args:
        expected: number of records that the index has.

    Raises:
        SourceError: the file ends early or is damaged, or lacks pictures that it announces.
    """
    blocks = Blocks(file.read, lambda unpacked: limits.check_total(name, unpacked))
    records = pictures = 0
    announced: int | None = None
    while not blocks.at_end():
        try:
            size, data = _record(blocks, limits.image_bytes)
            records += 1
            if data is None:
                pictures += 1
                yield Unreadable(f"record-{records}", "too_many_bytes", f"{size} bytes")
                continue
            flag, label, number, _ = _HEADER.unpack_from(data)
            more = struct.unpack_from(f"<{flag}f", data, _HEADER.size) if flag else ()
        except (EOFError, struct.error, ValueError) as error:
            raise SourceError(
                f"{name}: {_EARLY} after {records} records ({error}); fetch it again"
            ) from error
        picture = data[_HEADER.size + 4 * flag :]
        if not picture:
            if number == 0 and more:
                announced = int(more[0]) - 1
            continue
        pictures += 1
        identity = _identity(more[0] if more else label)
        if identity is None:
            yield Unreadable(f"record-{number}", "no_identity", f"label {more or label}")
        else:
            path = f"{identity}/{number:08d}{extension(picture)}"
            yield Member(path, picture, identity)
    for unit, stated, count in (("records", expected, records), ("pictures", announced, pictures)):
        if stated is not None and stated != count:
            raise SourceError(
                f"{name}: {_EARLY}: {count} {unit}, {stated} expected; fetch it and its .idx again"
            )


def _record(blocks: Blocks, most: int) -> tuple[int, bytes | None]:
    """Size and data of a record; no data where it has more than `most` bytes."""
    pieces: list[bytes] = []
    size = 0
    while True:
        magic, word = struct.unpack("<II", blocks.take(8))
        if magic != MAGIC:
            raise ValueError("no record begins where one should")
        part, length = word >> 29, word & (1 << 29) - 1
        if (part in (_WHOLE, _FIRST)) != (not size) or part > _LAST:
            raise ValueError("a record's pieces are out of order")
        if size:
            pieces.append(struct.pack("<I", MAGIC))
        size += length + 4 * bool(size)
        padded = length + -length % 4
        if size > most:
            pieces.clear()
            blocks.skip(padded)
        else:
            pieces.append(blocks.take(padded)[:length])
        if part in (_WHOLE, _LAST):
            return size, b"".join(pieces) if size <= most else None


def _identity(label: float) -> str | None:
    return f"{int(label):07d}" if label >= 0 and label.is_integer() else None


def _records_of_index(uri: str) -> int | None:
    """The number of lines of an index, or None if there is none."""
    if not storage.exists(uri):
        return None
    with storage.open_input(uri) as file:
        lines = io.TextIOWrapper(cast(BinaryIO, file), encoding="ascii", errors="replace")
        return sum(1 for line in iter(partial(lines.readline, 2**16), "") if line.strip())
