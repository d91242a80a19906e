"""How long-running work reports its progress; the caller draws a bar, or ignores it."""

from typing import Protocol


class Progress(Protocol):
    def __call__(self, done: int, total: int | None, /) -> None:
        """Receives, now and then, the units done and, if it is known, their total."""


def silent(done: int, total: int | None, /) -> None:
    """Ignores progress."""
