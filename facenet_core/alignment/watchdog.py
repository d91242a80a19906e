"""A process that hangs ends itself, even where no Python code can run any more."""

from __future__ import annotations

import faulthandler
import os
from types import TracebackType
from typing import Self

HUNG = 1  # the exit status of a process that its watchdog ended


class Watchdog:
    """Ends the process if nothing happens for `seconds` inside a `with` block.

    For processes that do nothing else and that somebody watches over: a Dask worker, a child. The
    clock is a thread of the interpreter's own in C, so a library that hangs while it holds Python's
    lock is noticed as well. There is one clock a process.

    Args:
        seconds: None never ends anything.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    def __enter__(self) -> Self:
        # The stacks of all threads, which it prints, would be the only thing in a terminal.
        self._stacks = open(os.devnull, "w")
        self.progress()
        return self

    def progress(self) -> None:
        """Something was done: the time starts anew."""
        if self._seconds is not None:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._stacks)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._seconds is not None:
            faulthandler.cancel_dump_traceback_later()
        self._stacks.close()
