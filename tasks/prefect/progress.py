"""Progress: a bar in a terminal, a progress artifact in the Prefect UI, nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from facenet_core.progress import Progress as ByteProgress

Report = Callable[..., None]
_ARTIFACT_SECONDS = 5.0
_TRANSFER_SECONDS = 0.2
_MB = 10**6
_COLUMNS = 58  # of a terminal, taken by what stands before the text


@contextmanager
def bar(title: str, total: int | None, unit: str = "images") -> Iterator[Report]:
    """A bar in a terminal; yields `report(done, total=None, text="")`, for any thread."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as rows:
        row = rows.add_task(title, total=total, text="")

        def report(done: int, total: int | None = total, text: str = "") -> None:
            # Columns that do not fit make Rich squeeze all of them.
            fitting = text[: max(console.width - _COLUMNS, 0)]
            rows.update(row, completed=done, total=total, text=fitting)

        yield report


@contextmanager
def progress(title: str, total: int | None, unit: str = "images") -> Iterator[Report]:
    """The bar of a task or flow, which Prefect shows as a progress artifact, too."""
    artifact = _Artifact(title)
    with bar(title, total, unit) as update_bar:

        def report(done: int, total: int | None = total, text: str = "") -> None:
            update_bar(done, total, text)
            artifact.update(done, total, f"{done} of {total or '?'} {unit} {text}")

        yield report
        artifact.finish()


@contextmanager
def transfer(opened: Callable[..., AbstractContextManager[Report]]) -> Iterator[ByteProgress]:
    """The bytes of a download and their rate, from its first byte on.

    Args:
        opened: `bar`, or `progress` in a task or flow.
    """
    with ExitStack() as stack:
        megabytes: Megabytes | None = None
        before = 0

        def advance(done: int, total: int | None, /) -> None:
            nonlocal megabytes, before
            if megabytes is None:
                megabytes = Megabytes(stack.enter_context(opened("fetch", None, "MB")))
                before = done
            megabytes.show(done, total, before)

        yield advance


class Megabytes:
    """Reports bytes that are transferred, and their rate, a few times a second at most."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._started = self._reported = time.monotonic()

    def show(self, done: int, total: int | None, before: int) -> None:
        """So many bytes are there, of `total`; `before` of them lay there at the beginning."""
        now = time.monotonic()
        if now - self._reported < _TRANSFER_SECONDS and done != total:
            return
        self._reported = now
        rate = (done - before) / max(now - self._started, 1e-3) / _MB
        self._report(done // _MB, -(-(total or done) // _MB), f"{rate:.1f} MB/s")


class _Artifact:
    """The progress artifact of the current run, updated every few seconds at most."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._id: Any = None
        self._last = time.monotonic()

    def update(self, done: int, total: int | None, text: str) -> None:
        now = time.monotonic()
        if total and now - self._last >= _ARTIFACT_SECONDS:
            self._last = now
            self._write(100.0 * min(done / total, 1.0), text)

    def finish(self) -> None:
        if self._id is not None:
            self._write(100.0, "done")

    def _write(self, percent: float, text: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        description = f"{self._title}: {text}"
        with suppress(Exception):  # a display that fails must not fail the work
            if self._id is None:
                self._id = create_progress_artifact(percent, description=description)
            else:
                update_progress_artifact(self._id, percent, description=description)
