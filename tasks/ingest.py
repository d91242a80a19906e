"""Tasks of the ingest stage."""

from __future__ import annotations

import time
from threading import Event, Lock

from prefect.cache_policies import NO_CACHE

from facenet_core.config import IngestConfig
from facenet_core.datasets import stage as core
from facenet_core.errors import FacenetError
from facenet_core.fetch.download import fetch
from facenet_core.fetch.partial_file import Stored
from facenet_core.fetch.wanted import Wanted
from facenet_core.progress import Progress
from facenet_core.storage import Outcome, Part, Plan
from tasks.dask.cluster import DaskCluster
from tasks.prefect.decorators import task
from tasks.prefect.progress import Megabytes, Report, progress
from tasks.prefect.retries import WHOLE_STAGE
from tasks.prefect.shards import shard_task

_SECONDS_BETWEEN = 0.2  # two reports; more only cost time


@shard_task("draw")
def draw_shard(plan: Plan, number: int, count: int, workers: DaskCluster) -> Part:
    """Draw one shard of synthetic faces on a Dask worker."""
    return workers.call(core.draw_shard, plan, number)


@task(task_run_name="fetch {wanted.uri}", cache_policy=NO_CACHE)
def fetch_file(wanted: Wanted, transfers: Transfers) -> Stored:
    """Download one file to storage; it resumes and retries by itself."""
    return fetch(wanted, transfers.of(wanted), sleep=transfers.sleep)


class Stopped(FacenetError):
    """A download ends because its run does; what came is kept."""


class Transfers:
    """The bytes of several downloads as one line of progress, with their rate.

    Their threads end soon after `stop`, or the end of a run would wait for the last byte.
    """

    def __init__(self, report: Report) -> None:
        self._megabytes = Megabytes(report)
        self._lock = Lock()
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._stopped = Event()

    def stop(self) -> None:
        """End all downloads at their next block."""
        self._stopped.set()

    def sleep(self, seconds: float) -> None:
        """Wait between two tries, but not for a run that has ended."""
        if self._stopped.wait(seconds):
            raise Stopped("stopped")

    def of(self, wanted: Wanted) -> Progress:
        """The progress of one file."""

        def report(done: int, total: int | None, /) -> None:
            if self._stopped.is_set():
                raise Stopped("stopped")
            with self._lock:
                self._first.setdefault(wanted.uri, done)
                self._done[wanted.uri] = done
                self._totals[wanted.uri] = total or done
                sums = (sum(each.values()) for each in (self._done, self._totals, self._first))
                self._megabytes.show(*sums)

        return report


@task(task_run_name="read {plan.name}", **WHOLE_STAGE)
def stream_source(root: str, plan: Plan, config: IngestConfig) -> Outcome:
    """Write the raw shards of a folder or archive in one pass."""
    reported = started = time.monotonic()
    with progress("ingest", None) as report:

        def now_and_then(done: int, total: int | None, /) -> None:
            nonlocal reported
            if (now := time.monotonic()) - reported >= _SECONDS_BETWEEN:
                reported = now
                report(done, total, f"{done / (now - started):,.0f}/s")

        return core.stream(root, plan, config, now_and_then)
