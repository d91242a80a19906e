"""Killed at any moment, the same command goes on, and ends like an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from qa.faults.compare import Verdict, compare
from tests.support.tiny import command, facenet


def start(config: Path, root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("run", "--config", config, "--storage", root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(process: int) -> list[int]:
    """All processes that descend from one."""
    try:
        return [child.pid for child in psutil.Process(process).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def test_killed_while_aligning_and_again_while_training(
    undisturbed: Path, tiny_config: Path, tmp_path: Path
) -> None:
    run = start(tiny_config, tmp_path)
    wait_for(run, lambda: any(tmp_path.glob("crops/tiny/*/crops/part-*.parquet")))
    workers = children(run.pid)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not list(tmp_path.glob("crops/tiny/*/manifest.json"))
    raw_before = {f: f.stat().st_mtime_ns for f in tmp_path.glob("raw/tiny/*/images/*")}
    crops_before = {f: f.stat().st_mtime_ns for f in tmp_path.glob("crops/tiny/*/crops/*.parquet")}
    assert raw_before
    assert crops_before

    run = start(tiny_config, tmp_path)
    wait_for(run, lambda: any(tmp_path.glob("models/tiny/*/attempts/*/checkpoints/*")))
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not list(tmp_path.glob("models/tiny/*/manifest.json"))
    assert not list(tmp_path.glob("models/tiny/*/model.keras"))

    status, _, errors = facenet("run", "--config", tiny_config, "--storage", tmp_path)
    assert status == 0, errors
    for file, written in {**raw_before, **crops_before}.items():
        assert file.stat().st_mtime_ns == written, "done twice"
    assert compare(tmp_path, undisturbed) == Verdict()
    time.sleep(1)
    assert [pid for pid in workers if psutil.pid_exists(pid)] == [], "left running"


@pytest.mark.parametrize(
    "moment",
    [
        "crops/tiny/*/crops/.*",
        pytest.param("models/tiny/*/attempts/*/**/*", marks=pytest.mark.slow),
    ],
)
def test_interrupted_by_the_user_it_ends_soon_with_130_and_leaves_nothing_whole(
    undisturbed: Path, tiny_config: Path, tmp_path: Path, moment: str
) -> None:
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    del environment["PREFECT_API_URL"]  # with a temporary server, which Ctrl-C must not stop first
    run = subprocess.Popen(
        command("run", "--config", tiny_config, "--storage", tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    )
    wait_for(run, lambda: any(tmp_path.glob(moment)))
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to every process of the command
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.decode().strip() == "facenet: interrupted; the same command continues from here"
    stage = moment.split("/")[0]
    assert not list(tmp_path.glob(f"{stage}/tiny/*/manifest.json"))
    assert list(tmp_path.rglob("*.tmp")) == []


@pytest.mark.slow
def test_a_killed_dask_worker_is_replaced_and_its_shard_done_again(
    undisturbed: Path, tiny_config: Path, tmp_path: Path
) -> None:
    run = start(tiny_config, tmp_path)
    wait_for(run, lambda: any(tmp_path.glob("crops/tiny/*/crops/.part-*.tmp")))
    (writing, *_) = tmp_path.glob("crops/tiny/*/crops/.part-*.tmp")
    worker = int(writing.name.split(".")[-3])
    assert worker in children(run.pid)
    os.kill(worker, signal.SIGKILL)
    assert run.wait(240) == 0
    assert compare(tmp_path, undisturbed) == Verdict()
