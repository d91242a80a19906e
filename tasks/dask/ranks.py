"""Training on several Dask workers: each starts one rank and watches over it.

A worker's task starts the rank as a child process and passes on what that says. Here all of them
are watched, and the first that dies or falls silent ends the others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from facenet_core import runtime
from facenet_core.config import TrainConfig
from facenet_core.errors import FacenetError
from facenet_core.privacy import url_secrets
from facenet_core.storage import Outcome, Plan
from facenet_core.training.ranks import Job, Rank
from facenet_core.training.stage import Step
from tasks.dask.cluster import DaskCluster, UnfitWorker

if TYPE_CHECKING:
    from distributed import Future

# Whose warnings commands show.
logger = logging.getLogger("facenet_core.training")

Message = Mapping[str, Any]

# A rank speaks every two seconds. Half of this is left for its worker to say so.
SILENCE = 20.0
_UNHEARD = 45.0  # of a rank of which its worker says nothing either
_RELAY_SECONDS = 5.0
_STEP_SECONDS = 0.25
# The others' errors come with the first one, and only one of them is the cause.
_SETTLE = 3.0


class RankLost(FacenetError):
    """A process that trains died or hung."""

    retryable = True


class RankFailed(FacenetError):
    """A process that trains met an error, mostly because another one was lost."""

    retryable = True


@dataclass(frozen=True)
class _Placement:
    """Which rank it is of how many on its host, and under which topic its worker speaks of it."""

    topic: str
    number_on_host: int
    ranks_on_host: int


def train_on_ranks(
    cluster: DaskCluster,
    count: int,
    plan: Plan,
    config: TrainConfig,
    run_id: str,
    progress: Callable[[Step], None],
) -> Outcome:
    """Carry out a plan with `count` ranks, one a worker.

    Args:
        progress: called after steps, a few times a second; what it raises ends training.

    Raises:
        RankLost: a rank died, hung, or is no longer heard of; names it, its host and its end.
        RankFailed: a rank met an unexpected error.
        ConfigError: the backend is not JAX.
        UnfitWorker: there are too few workers in time, or GPUs.
        FacenetError: what the training itself raised.
    """
    if os.environ.get("KERAS_BACKEND") != "jax":  # else only the workers load it
        from facenet_core.training.engine.distribution import require_jax

        require_jax("train_workers")
    workers = cluster.choose_workers(count)
    hosts = [worker.host for worker in workers]
    port = cluster.submit(workers[0].address, runtime.free_port).result()
    coordinator = f"{hosts[0]}:{port}"
    topic = f"facenet-ranks-{uuid.uuid4().hex}"
    messages: SimpleQueue[tuple[float, Message]] = SimpleQueue()
    futures: list[Future] = []
    with cluster.events(topic, messages.put):
        try:
            for number, worker in enumerate(workers):
                job = Job(plan, config, run_id, Rank(number, count, coordinator), {})
                on_host = Counter(hosts[:number])[worker.host]
                placement = _Placement(topic, on_host, hosts.count(worker.host))
                futures.append(cluster.submit(worker.address, _run_rank, job, placement))
            return _watch(futures, hosts, messages, progress)
        finally:
            for future in futures:
                future.cancel()


def _watch(
    futures: list[Future],
    hosts: list[str],
    messages: SimpleQueue[tuple[float, Message]],
    progress: Callable[[Step], None],
) -> Outcome:
    from distributed.scheduler import KilledWorker

    heard: dict[int, float] = {}
    errors: dict[int, BaseException] = {}
    deadline: float | None = None
    while True:
        done = futures[0].status == "finished"  # looked at before the last messages are read
        now = time.monotonic()
        with contextlib.suppress(Empty):
            while True:
                _, message = messages.get_nowait()
                heard[message["rank"]] = now
                if "step" in message:
                    progress(Step(**message["step"]))
                if "warning" in message:
                    logger.warning(message["warning"])
        if done:
            return futures[0].result()
        for number, future in enumerate(futures):
            if number in errors:
                continue
            name = f"rank {number} of {len(futures)} on {hosts[number]}"
            if future.status in ("error", "lost", "cancelled"):
                error = future.exception() if future.status == "error" else None
                if error is None or isinstance(error, KilledWorker):
                    error = RankLost(f"{name}: its Dask worker ended")
                errors[number] = error
            elif now - heard.get(number, now) > _UNHEARD:
                errors[number] = RankLost(
                    f"{name}: nothing was heard of it or its Dask worker for {_UNHEARD:.0f} s"
                )
        if errors and deadline is None:
            deadline = now + _SETTLE + SILENCE
        causes = [error for error in errors.values() if not isinstance(error, RankFailed)]
        if causes or len(errors) == len(futures) or (deadline is not None and now > deadline):
            raise (causes or list(errors.values()))[0]
        time.sleep(0.2)


def _run_rank(job: Job, placement: _Placement) -> Outcome | None:
    """On a worker: start a rank, pass on what it says, and see that it ends with this task.

    Raises: see `train_on_ranks`.
    """
    environment = runtime.child_environment() | {"KERAS_BACKEND": "jax"} | _own_gpus(placement)
    environment.setdefault("JAX_CPU_COLLECTIVES_IMPLEMENTATION", "gloo")
    ours, theirs = Pipe()
    with ours, tempfile.TemporaryFile() as output:
        with theirs:
            child = subprocess.Popen(
                runtime.child_command("facenet_core.training.ranks", str(theirs.fileno())),
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # an interrupt of the terminal is for who started all this
            )
        try:
            with contextlib.suppress(BrokenPipeError):
                ours.send(replace(job, secrets=url_secrets.hidden()))
            return _listen(ours, child, output, job.rank, placement)
        finally:
            child.kill()
            child.wait()


def _listen(
    pipe: Connection,
    child: subprocess.Popen[bytes],
    output: IO[bytes],
    rank: Rank,
    placement: _Placement,
) -> Outcome | None:
    from distributed import get_worker

    worker = get_worker()
    task = worker.get_current_task()
    name = f"rank {rank.number} of {rank.count} on {socket.gethostname()} (process {child.pid})"
    heard: float | None = None  # loading its libraries takes as long as it takes
    relayed: dict[str, float] = {}
    # Whoever is no longer interested, or no longer there, has the scheduler release the task.
    while (state := worker.state.tasks.get(task)) is not None and state.state == "executing":
        try:
            if not pipe.poll(0.5):
                if heard is not None and time.monotonic() - heard > SILENCE:
                    raise RankLost(f"{name} gave no sign of life for {SILENCE:.0f} s")
                continue
            kind, value = pipe.recv()
        except (EOFError, ConnectionResetError):
            end, last = runtime.describe_exit(child.wait()), _last_line(output)
            message = f"{name} ended with {end}{last}"
            # JAX ends a process that way when it misses another one.
            raise (RankFailed if end == "SIGABRT" else RankLost)(message) from None
        heard = time.monotonic()
        if kind == "error":
            raise value
        if kind == "failed":
            raise RankFailed(f"{name}: {value}")
        if kind == "outcome" and rank.leads:
            return value
        if kind == "alive":
            value, pause = None, _RELAY_SECONDS
        else:
            pause = _STEP_SECONDS if kind == "step" and value["step"] < value["steps"] else 0.0
        if kind != "outcome" and heard - relayed.get(kind, 0.0) >= pause:
            relayed[kind] = heard
            worker.log_event(placement.topic, {"rank": rank.number, kind: value})
    return None


def _last_line(output: IO[bytes]) -> str:
    """The last that a process printed, behind a colon."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
    lines = output.read().decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""


def _own_gpus(placement: _Placement) -> dict[str, str]:
    """The variable by which ranks that share a host divide its GPUs, unless its worker has it.

    Raises:
        UnfitWorker: the host has GPUs, but fewer than ranks.
    """
    if placement.ranks_on_host == 1 or "CUDA_VISIBLE_DEVICES" in os.environ:
        return {}
    try:
        gpus = runtime.query_gpus("index")
    except (OSError, subprocess.SubprocessError):
        return {}
    if gpus and len(gpus) < placement.ranks_on_host:
        raise UnfitWorker(
            f"{socket.gethostname()}: {len(gpus)} GPUs for {placement.ranks_on_host} ranks; start "
            "as many Dask workers there as it has GPUs"
        )
    own = gpus[placement.number_on_host :: placement.ranks_on_host]
    return {"CUDA_VISIBLE_DEVICES": ",".join(own)} if gpus else {}
