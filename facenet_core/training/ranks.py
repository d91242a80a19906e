"""The processes that share a training, and the program that each of them runs.

A rank is a child process, as JAX keeps the state of a distributed training until its process ends.
What started it sends a `Job` through a pipe, hears from it several times a minute, and ends it by
closing the pipe. `tasks.dask.ranks` does this on Dask workers.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

from facenet_core.config import TrainConfig
from facenet_core.errors import FacenetError
from facenet_core.privacy import url_secrets
from facenet_core.storage import Plan

ALIVE_SECONDS = 2.0  # between two signs of life


@dataclass(frozen=True)
class Rank:
    """One of the processes that share a training; alone it is number 0 of 1.

    Attributes:
        coordinator: host and port at which the ranks meet, on the host of rank 0.
    """

    number: int = 0
    count: int = 1
    coordinator: str = ""

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and reports."""
        return self.number == 0

    def own(self, rows: int) -> slice:
        """Its part of a batch of so many rows."""
        part = rows // self.count
        return slice(self.number * part, (self.number + 1) * part)


ALONE = Rank()


@dataclass(frozen=True)
class Job:
    """What a rank is to do; `secrets` are those of `url_secrets.hidden`."""

    plan: Plan
    config: TrainConfig
    run_id: str
    rank: Rank
    secrets: Mapping[str, str]


class _Channel(logging.Handler):
    """Sends messages (kind, value) from any thread: `alive`, `step`, `warning`, and at the end
    `outcome`, `error` or `failed`."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def say(self, kind: str, value: Any = None) -> None:
        with self.lock or threading.RLock():
            self._connection.send((kind, value))

    def emit(self, record: logging.LogRecord) -> None:
        self.say("warning", record.getMessage())


def _main() -> None:
    connection = Connection(int(sys.argv[1]))
    job: Job = connection.recv()
    channel = _Channel(connection)

    def end_with_parent() -> None:
        try:
            connection.recv()
        finally:
            os._exit(1)

    def stay_alive() -> None:
        pause = threading.Event()
        while True:
            channel.say("alive")
            pause.wait(ALIVE_SECONDS)

    threading.Thread(target=end_with_parent, daemon=True).start()
    url_secrets.recall(job.secrets)
    log = logging.getLogger("facenet_core")
    log.addHandler(channel if job.rank.leads else logging.NullHandler())
    log.propagate = False
    import jax  # noqa: F401 - loading it takes Python's lock for seconds, without a sign of life

    from facenet_core.training import stage

    threading.Thread(target=stay_alive, daemon=True).start()

    def report(step: stage.Step) -> None:
        channel.say("step", asdict(step))

    try:
        outcome = stage.train_rank(
            job.plan, job.config, job.rank, run_id=job.run_id, progress=report
        )
        channel.say("outcome", outcome)
    except FacenetError as error:
        channel.say("error", error)
    except Exception as error:  # JAX has error classes of its own, which nobody else can load
        channel.say("failed", f"{type(error).__name__}: {error}"[:2000])
    # A rank that ends takes the others with it, so all wait until whoever started them is done.
    threading.Event().wait()


if __name__ == "__main__":
    _main()
