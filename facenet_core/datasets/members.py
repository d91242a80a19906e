"""What a source consists of: the items that every kind of source yields, and limits on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from facenet_core.errors import SourceError


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a source: its path as the source has it, and its content.

    `identity` is set where the source says who it is; else the folder or a pattern does.
    """

    path: str
    data: bytes
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file whose content was not read, and why."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Nested:
    """An archive or record file inside a source. `stream` ends when the next item is asked for."""

    path: str
    stream: BinaryIO


Item = Member | Unreadable | Nested


@dataclass(frozen=True)
class Limits:
    """How much of a source is taken.

    Attributes:
        image_bytes: larger members are skipped.
        total_bytes: more than this out of one source, skipped members included, is an error.
        ratio: members that unpack to more than this many times their size are skipped.
    """

    image_bytes: int
    total_bytes: int
    ratio: float

    def check_total(self, source: str, unpacked: int) -> None:
        """Raises SourceError where `unpacked` bytes are more than the limit on the total."""
        if unpacked > self.total_bytes:
            raise SourceError(
                f"{source}: unpacks to more than {self.total_bytes:,} bytes; if that is right, "
                "allow more with --max-total-bytes"
            )


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 over all that a source holds, and its size in bytes."""

    sha256: str
    bytes: int


class Source(Protocol):
    """One form of data set. `items` may be called again and yields the same each time."""

    @property
    def wrapped(self) -> bool:
        """Whether all paths may begin with a folder that only names the whole, as in archives."""

    def fingerprint(self) -> Fingerprint:
        """Identify the content; raises SourceError where it cannot be read."""

    def items(self, limits: Limits) -> Iterator[Item]:
        """Members in an order that depends on the source alone; raises SourceError on damage."""
