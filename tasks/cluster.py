"""Dask: the only place that starts clusters and hands them work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from facenet_core.config import ClusterConfig
from facenet_core.errors import FacenetError

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")

# A worker is one process with one thread: the detector's engine must not start threads of its own.
_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
_DASK = {
    # TensorFlow takes longer to load than the 15 s after which a silent worker is given up.
    "distributed.deploy.lost-worker-timeout": "1h",
    # A task that kills its worker is tried again by Prefect, not by Dask on the next worker.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.daemon": True,
    "distributed.admin.log-format": "%(name)s - %(levelname)s - %(message)s",
    "logging.distributed": "error",
}


class WorkerLost(FacenetError):
    """The process that worked on a shard died: out of memory, killed, or crashed by the input."""

    retryable = True


class ClusterClosed(FacenetError):
    """The run is ending, so the work was not done."""


class Cluster:
    """A Dask cluster that starts when the first piece of work is handed to it."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._lock = RLock()
        self._client: Client | None = None
        self._closed = False

    @property
    def workers(self) -> int:
        """Processes expected to work at a time."""
        return self._config.workers or os.cpu_count() or 1

    def call(self, function: Callable[..., Result], /, *args: Any) -> Result:
        """Run a function on a worker and wait for what it returns.

        Raises:
            WorkerLost: the worker died meanwhile.
            ClusterClosed: the run is ending.
        """
        from distributed.scheduler import KilledWorker

        future = self._connected().submit(function, *args, pure=False)
        try:
            return future.result()
        except KilledWorker as error:
            raise WorkerLost(
                f"the worker process that ran {function.__name__} died: killed, out of memory, "
                "or crashed by its input"
            ) from error
        except BaseException as error:
            if self._closed:
                raise ClusterClosed("the run is ending") from error
            raise

    def _connected(self) -> Client:
        with self._lock:
            if self._closed:
                raise ClusterClosed("the run is ending")
            if self._client is None:
                self._client = _start(self._config, self.workers)
            return self._client

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


_open: Cluster | None = None


@contextmanager
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    """The cluster of this process. Inside another such block it is that block's cluster."""
    global _open
    if _open is not None:
        yield _open
        return
    _open = Cluster(config)
    try:
        yield _open
    finally:
        _open.close()
        _open = None


def _start(config: ClusterConfig, workers: int) -> Client:
    import dask
    from distributed import Client, LocalCluster, WorkerPlugin

    dask.config.set(_DASK)
    if config.dask_address is not None:
        try:
            return Client(config.dask_address, timeout=30, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise FacenetError(
                f"{config.dask_address}: no Dask scheduler answers ({error}); start one with "
                "`dask scheduler`, or leave dask_address out for local workers"
            ) from error
    local = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=config.memory_limit,
        dashboard_address=None,
        env=_WORKER_ENVIRONMENT,
        silence_logs=40,  # logging.ERROR
    )
    client = Client(local, set_as_default=False)

    class IgnoreInterrupts(WorkerPlugin):
        """Ctrl-C in a terminal reaches the workers too; stopping them is this process's part."""

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    client.register_plugin(IgnoreInterrupts())
    return client
