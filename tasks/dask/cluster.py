"""The Dask cluster: the only place that hands work to it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from facenet_core import storage
from facenet_core.config import ClusterConfig
from facenet_core.errors import FacenetError
from tasks.dask import start

if TYPE_CHECKING:
    from distributed import Client, Future

Result = TypeVar("Result")

_PACKAGE = "facenet-pipeline"


class WorkerLost(FacenetError):
    """The process that worked on a shard died: out of memory, killed, hung, or crashed."""

    retryable = True


class ClusterClosed(FacenetError):
    """The run is ending, so the work was not done."""


class UnfitWorker(FacenetError):
    """The cluster has no workers that may run this job."""


@dataclass(frozen=True)
class Worker:
    """A Dask worker, and the host it runs on, as others reach it."""

    address: str
    host: str


class DaskCluster:
    """A Dask cluster that starts when the first piece of work is handed to it."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._lock = RLock()
        self._client: Client | None = None
        self._probe: Future | None = None
        self._deadline = 0.0
        self._closed = False

    def start(self, jobs: int) -> None:
        """Start now and wait for the first worker, so that errors are reported once.

        Args:
            jobs: how many calls there will be at once; more local workers than that have nothing
                to do, and do not start.

        Raises:
            ConfigError: there is no such cluster class.
            UnfitWorker: no worker came in time, or one that lacks the package, has another version
                of it or more than one thread.
        """
        _, probe = self._connected(jobs)
        self._wait_for_workers(probe)

    def call(self, function: Callable[..., Result], /, *args: Any, **keywords: Any) -> Result:
        """Run a function on a worker and wait for what it returns.

        Raises:
            UnfitWorker: see `start`.
            WorkerLost: the worker died meanwhile.
            ClusterClosed: the run is ending.
        """
        from distributed.scheduler import KilledWorker

        client, probe = self._connected()
        try:
            self._wait_for_workers(probe)
            return client.submit(_run, function, args, keywords, pure=False).result()
        except KilledWorker as error:
            raise WorkerLost(
                f"the worker process that ran {function.__name__} died: killed, out of memory, "
                "crashed or hung by its input"
            ) from error
        except BaseException as error:
            if self._closed:
                raise ClusterClosed("the run is ending") from error
            raise

    def choose_workers(self, count: int) -> list[Worker]:
        """So many workers for work that needs them at once, on as many hosts as there are; those of
        a host are next to each other.

        Raises:
            UnfitWorker: see `start`, or there are fewer in time.
        """
        from distributed import TimeoutError as TooFew

        client, probe = self._connected()
        self._wait_for_workers(probe)
        try:
            client.wait_for_workers(count, max(self._deadline - time.monotonic(), 0.1))
        except TooFew:
            raise UnfitWorker(
                f"{self._name}: train_workers is {count}, and fewer workers came within "
                f"{self._config.worker_timeout:.0f} s; start more, or set train_workers lower"
            ) from None
        seen = Counter[str]()
        ranked = []
        for address, worker in sorted(client.scheduler_info(n_workers=-1)["workers"].items()):
            ranked.append((seen[worker["host"]], worker["host"], address))
            seen[worker["host"]] += 1
        selected = sorted(ranked)[:count]
        return [Worker(address, host) for _, host, address in sorted(selected, key=lambda w: w[1:])]

    def submit(self, worker: str, function: Callable[..., Any], /, *args: Any) -> Future:
        """Begin to run a function on the worker of this address."""
        client, _ = self._connected()
        return client.submit(_run, function, args, {}, pure=False, workers=[worker])

    @contextmanager
    def events(self, topic: str, handler: Callable[[Any], None]) -> Iterator[None]:
        """Hand what workers log under a topic to `handler`, with its time, from another thread."""
        client, _ = self._connected()
        client.subscribe_topic(topic, handler)
        try:
            yield
        finally:
            client.unsubscribe_topic(topic)

    def _connected(self, jobs: int | None = None) -> tuple[Client, Future]:
        with self._lock:
            if self._closed:
                raise ClusterClosed("the run is ending")
            if self._client is None:
                self._client = start.start(self._config, jobs)
                if self._client.cluster is None:
                    _warn_of_failures_setting(self._client)
            elif jobs is not None:
                start.add_workers(self._client, self._config, jobs)
            if self._probe is None or self._probe.status not in ("pending", "finished"):
                self._probe = _submit_probe(self._client)  # its worker may have died of something
                self._deadline = time.monotonic() + self._config.worker_timeout
            return self._client, self._probe

    def _wait_for_workers(self, probe: Future) -> None:
        """Wait until there is one; a shard would wait for it forever."""
        from distributed import TimeoutError as NoWorker

        try:
            versions, host, process, threads = probe.result(
                max(self._deadline - time.monotonic(), 0.1)
            )
        except NoWorker:
            raise UnfitWorker(
                f"{self._name}: no worker came within {self._config.worker_timeout:.0f} s; start "
                "`dask worker ADDRESS --nthreads 1`, or see the cluster's own log"
            ) from None
        if threads != 1:
            raise UnfitWorker(f"{self._name}: {_too_many_threads(threads)}")
        ours = storage.made_by()
        if versions.get(_PACKAGE) != ours.get(_PACKAGE):
            raise UnfitWorker(
                f"{self._name}: its workers have {_PACKAGE} {versions.get(_PACKAGE, 'not')} "
                f"installed, this run is {ours[_PACKAGE]}; install the same there"
            )
        if (host, process) == (socket.gethostname(), os.getpid()):
            raise UnfitWorker(
                f"{self._name}: its workers are threads of this process, which a bad photograph "
                "would take down with them; set `processes: true` in cluster_options"
            )

    @property
    def _name(self) -> str:
        return self._config.dask_address or self._config.cluster_class or "local workers"

    def close(self) -> None:
        """Stop the workers that were started here; an existing scheduler is left running."""
        with self._lock:
            client, self._client = self._client, None
            self._closed = True
        if client is None:
            return
        cluster = client.cluster
        client.close(timeout=10)
        if cluster is not None:
            cluster.close(timeout=10)


_open: DaskCluster | None = None


@contextmanager
def dask_cluster(config: ClusterConfig) -> Iterator[DaskCluster]:
    """The Dask cluster of this process; a block inside another one gets that one's cluster."""
    global _open
    if _open is not None:
        yield _open
        return
    _open = DaskCluster(config)
    try:
        yield _open
    finally:
        _open.close()
        _open = None


def _run(
    function: Callable[..., Result], args: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Result:
    """On a worker: run the function, if nothing else runs in its process."""
    from distributed import get_worker

    worker = get_worker()
    if worker.state.nthreads != 1:
        raise UnfitWorker(f"{worker.address}: {_too_many_threads(worker.state.nthreads)}")
    return function(*args, **keywords)


def _too_many_threads(threads: int) -> str:
    return (
        f"a worker has {threads} threads, and a shard takes a process of its own: start workers "
        "with one thread (--nthreads 1), and more of them"
    )


def _submit_probe(client: Client) -> Future:
    """Ask the first worker for its versions of packages, host, process, and threads."""
    packages = list(storage.made_by())

    # A function that a function defines goes to the workers by value, whatever they have installed.
    def probe() -> tuple[dict[str, str], str, int, int]:
        from distributed import get_worker

        versions = {}
        for package in packages:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                continue
        threads = get_worker().state.nthreads
        return versions, socket.gethostname(), os.getpid(), threads

    return client.submit(probe, pure=False, priority=1)


def _warn_of_failures_setting(client: Client) -> None:
    """Warn of the one setting that only a scheduler's own configuration can change."""

    def allowed_failures(dask_scheduler: Any) -> int:
        return int(dask_scheduler.allowed_failures)

    allowed = client.run_on_scheduler(allowed_failures)
    if allowed:
        logging.getLogger(__name__).warning(
            "This scheduler hands the work of a worker that died to %d others; start it with "
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0, or one bad photograph stops them all",
            allowed,
        )
