"""Processes of a site are killed in the middle of a run: nothing is done twice, nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deployments.local_site import Site
from facenet_core import storage

SHARDS = 24
CONFIG = {"source": "synthetic", "identities": 96, "images_per_identity": 10, "shards": SHARDS}


@pytest.fixture
def started(site: Site, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A worker and the run that it has begun: some shards are drawn, others are not."""
    worker = site.start_worker("cpu")
    parameters = {"config": CONFIG, "root": str(tmp_path), "where": {"workers": 2}}
    run = site.run("ingest/ingest", parameters)
    deadline = time.monotonic() + 100
    while len(parts(tmp_path)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(parts(tmp_path)) < SHARDS
    yield worker, run
    if worker.poll() is None:
        site.stop_worker(worker)


def parts(root: Path) -> dict[str, int]:
    """When each shard was written."""
    return {file.name: file.stat().st_mtime_ns for file in root.glob("raw/*/*/images/part-*")}


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


@pytest.mark.slow
def test_the_process_of_a_run_is_killed_and_retry_goes_on_where_it_was(
    site: Site, started: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    worker, run = started
    (process,) = (
        child
        for child in psutil.Process(worker.pid).children()
        if child.environ().get("PREFECT__FLOW_RUN_ID") == run
    )
    offspring = process.children(recursive=True)
    kill(process.pid)
    assert site.wait(run)["state_type"] == "CRASHED"
    _, left = psutil.wait_procs(offspring, timeout=10)
    assert left == [], "Dask workers outlived the run"
    before = parts(tmp_path)

    # A worker of Prefect 3.8 reports the crash twice, the second time some seconds later.
    time.sleep(15)
    site.retry(run)
    assert site.wait(run)["state_type"] == "COMPLETED"
    after = parts(tmp_path)
    assert len(after) == SHARDS
    assert before.items() <= after.items(), "a shard was done twice"
    assert all(storage.open_artifact(str(raw), "ingest") for raw in tmp_path.glob("raw/*/*"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_the_prefect_worker_is_killed_and_the_run_ends_once(
    site: Site, started: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    worker, run = started
    kill(worker.pid)
    worker.wait()
    replacement = site.start_worker("cpu")
    ended = site.wait(run)
    time.sleep(3)  # in which the new worker could have taken it up again
    site.stop_worker(replacement)
    assert ended["state_type"] == "COMPLETED"
    assert site.call("GET", f"flow_runs/{run}")["run_count"] == 1
    names = sorted(task["name"] for task in site.task_runs(run))
    assert names == sorted(f"draw shard {number + 1}/{SHARDS}" for number in range(SHARDS))
    assert all(storage.open_artifact(str(raw), "ingest") for raw in tmp_path.glob("raw/*/*"))
