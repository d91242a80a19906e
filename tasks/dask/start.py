"""Dask clusters: local workers, a scheduler that runs already, or any cluster class by name."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from facenet_core.config import ClusterConfig
from facenet_core.errors import ConfigError, FacenetError
from facenet_core.privacy import url_secrets
from tasks.prefect import credentials

if TYPE_CHECKING:
    from distributed import Client

# A worker is one process with one thread: the runtimes must not start threads of their own.
_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",  # of models on Keras
    "TF_NUM_INTEROP_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
# For schedulers and workers that start here; docs/dask.md says how to set them elsewhere.
_DASK = {
    # TensorFlow takes longer to load than the 15 s after which Dask gives up a silent worker.
    "distributed.deploy.lost-worker-timeout": "1h",
    # A task that kills its worker is tried again by Prefect, not by Dask on the next worker.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.daemon": True,
    "distributed.admin.log-format": "%(name)s - %(levelname)s - %(message)s",
    "logging.distributed": "critical",  # a failed shard is reported once, by its Prefect task
}


def start(config: ClusterConfig, jobs: int | None = None) -> Client:
    """A client of the cluster that `config` describes; started here, unless it has an address.

    Closing what was started is the caller's: `client.cluster` is it, or None.

    Args:
        jobs: how much work there is at once, where that is known; no more local workers start.

    Raises:
        ConfigError: there is no such cluster class.
        FacenetError: the scheduler does not answer, or the cluster does not start.
    """
    import dask
    from distributed import Client

    config.warn_of_unused()
    dask.config.set(_DASK)
    # Dask read its own setting of this when it was imported.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if config.dask_address is not None:
        try:
            return Client(url_secrets.whole(config.dask_address), timeout=30, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise FacenetError(
                f"{config.dask_address}: no Dask scheduler answers ({error}); start one with "
                "`dask scheduler`, or leave dask_address out for local workers"
            ) from error
    if config.cluster_class is not None:
        cluster = _named(config.cluster_class, config)
    else:
        cluster = _local(config, jobs)
    client = Client(cluster, set_as_default=False)
    _let_workers_ignore_interrupts(client)
    _hand_on_credentials(client)
    return client


def add_workers(client: Client, config: ClusterConfig, jobs: int) -> None:
    """Let local workers be as many as this much work can use, and wait until they are there.

    Who is interrupted meanwhile is so as its workers start, before any shard is in work.
    """
    cluster: Any = client.cluster
    if config.dask_address is not None or config.cluster_class is not None:
        return
    wanted = _local_workers(config, jobs)
    if wanted > len(cluster.worker_spec):
        cluster.scale(wanted)
        with suppress(TimeoutError):  # fewer do the work, too
            client.wait_for_workers(wanted, config.worker_timeout)


def _local_workers(config: ClusterConfig, jobs: int | None) -> int:
    cores = os.cpu_count() or 1
    return config.workers or min(cores, jobs or cores)


def _local(config: ClusterConfig, jobs: int | None) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=_local_workers(config, jobs),
        threads_per_worker=1,
        processes=True,
        memory_limit=config.memory_limit,
        dashboard_address=":0",  # any free port: with the usual one taken, Dask warns
        env=_WORKER_ENVIRONMENT,
        silence_logs=50,  # logging.CRITICAL
    )


def _named(name: str, config: ClusterConfig) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        cluster_class = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cluster_class {name}: {error}; expected the full name of a Dask cluster class such "
            "as dask_kubernetes.operator.KubeCluster, its package installed here"
        ) from error
    try:
        cluster = cluster_class(**url_secrets.whole_all(config.cluster_options))
        if config.adapt is not None:
            cluster.adapt(minimum=config.adapt[0], maximum=config.adapt[1])
        elif config.workers is not None:
            cluster.scale(config.workers)
    except Exception as error:  # each class raises its own
        raise FacenetError(f"{name} did not start: {type(error).__name__}: {error}") from error
    return cluster


def _let_workers_ignore_interrupts(client: Client) -> None:
    """Ctrl-C in a terminal reaches local workers too; this process stops them."""
    from distributed import WorkerPlugin

    # A class that a function defines goes to the workers by value, whatever they have installed.
    class IgnoreInterrupts(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    client.register_plugin(IgnoreInterrupts())


def _hand_on_credentials(client: Client) -> None:
    """Give the workers of this process's own cluster, also on other machines, the variables that a
    block set, and the secrets of the URLs that this process knows.

    Those of an existing scheduler have credentials of their own: others run code on them, too.
    """
    from distributed import WorkerPlugin

    class UseCredentials(WorkerPlugin):
        def __init__(self, variables: dict[str, str | None], secrets: dict[str, str]) -> None:
            self._variables, self._secrets = variables, secrets

        def setup(self, worker: Any) -> None:
            url_secrets.recall(self._secrets)
            for name, value in self._variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    variables, secrets = dict(credentials.variables_in_use()), url_secrets.hidden()
    if variables or secrets:
        client.register_plugin(UseCredentials(variables, secrets))
