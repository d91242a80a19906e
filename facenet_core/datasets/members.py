"""The items that every kind of source yields, and the limits on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from facenet_core.errors import SourceError


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a source: its path in the source, and its content.

    `identity` is set if the source names the person; else the folder or a pattern does.
    """

    path: str
    data: bytes
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file whose content was not read, and the reason."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Nested:
    """An archive or record file inside a source. `stream` ends at the next item."""

    path: str
    stream: BinaryIO


Item = Member | Unreadable | Nested


@dataclass(frozen=True)
class Limits:
    """How much is read from a source.

    Attributes:
        image_bytes: larger members are skipped.
        total_bytes: a source that unpacks to more, skipped members included, is an error.
        ratio: members that unpack to more than this many times their size are skipped.
    """

    image_bytes: int
    total_bytes: int
    ratio: float

    def check_total(self, source: str, unpacked: int) -> None:
        """Raise SourceError if `unpacked` bytes exceed the limit on the total."""
        if unpacked > self.total_bytes:
            raise SourceError(
                f"{source}: unpacks to more than {self.total_bytes:,} bytes; if that is right, "
                "allow more with --max-total-bytes"
            )


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of the whole content of a source, and its size in bytes."""

    sha256: str
    bytes: int


class Source(Protocol):
    """One kind of data set. `items` may be called again and yields the same each time."""

    @property
    def wrapped(self) -> bool:
        """Whether all paths may begin with one common folder, as in archives."""

    def fingerprint(self) -> Fingerprint:
        """Identify the content; raises SourceError if it cannot be read."""

    def items(self, limits: Limits) -> Iterator[Item]:
        """Members in an order that depends on the source alone; raises SourceError on damage."""
