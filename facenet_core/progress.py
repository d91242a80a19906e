"""How long work tells its caller how far it is. The caller draws the bar, or does nothing."""

from typing import Protocol


class Progress(Protocol):
    def __call__(self, done: int, total: int | None, /) -> None:
        """Called now and then with the units done and, where known, how many there are."""


def silent(done: int, total: int | None, /) -> None:
    """The progress of someone who does not look."""
