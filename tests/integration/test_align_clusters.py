"""Dask clusters of every kind: local, by class name, and a scheduler and workers over TCP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from facenet_core import storage
from facenet_core.alignment import stage
from facenet_core.config import AlignConfig, ClusterConfig, PipelineConfig, build
from facenet_core.errors import ConfigError, FacenetError
from tasks.dask import start
from tasks.dask.cluster import DaskCluster, UnfitWorker, WorkerLost

ONE_THREAD = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}


def named(name: str, options: dict[str, Any], **fields: Any) -> ClusterConfig:
    return ClusterConfig(cluster_class=name, cluster_options=options, **fields)


def dask(program: str, *arguments: str) -> list[str]:
    module = f"distributed.cli.dask_{program}"
    return [sys.executable, "-m", module, *arguments, "--no-dashboard"]


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler in a process of its own, without workers."""
    file = tmp_path / "scheduler.json"
    process = subprocess.Popen(
        dask("scheduler", "--port=0", "--host=127.0.0.1", f"--scheduler-file={file}"),
        stderr=subprocess.DEVNULL,
        env={**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"},
    )
    deadline = time.monotonic() + 60
    while not file.exists() or not file.read_text().endswith("}"):
        assert process.poll() is None, "the scheduler did not start"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield json.loads(file.read_text())["address"]
    process.terminate()
    process.wait(30)


@pytest.fixture
def worker(scheduler: str, tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with one worker of one thread, each a process of its own."""
    process = subprocess.Popen(
        dask("worker", scheduler, "--nthreads=1", f"--local-directory={tmp_path / 'dask'}"),
        stderr=subprocess.DEVNULL,
    )
    yield scheduler
    process.terminate()
    process.wait(30)


def test_a_scheduler_and_worker_over_tcp_make_the_same_crops_as_local_workers(
    worker: str, undisturbed: Path, tmp_path: Path
) -> None:
    (raw,) = map(str, undisturbed.glob("raw/tiny/*"))
    (crops,) = map(str, undisturbed.glob("crops/tiny/*"))
    config = AlignConfig(image_size=72, margin=16)
    source = storage.open_artifact(raw, "ingest")
    plan = stage.plan_align(str(tmp_path / "store"), source, config)
    with closing(DaskCluster(ClusterConfig(dask_address=worker))) as cluster:
        made = [
            cluster.call(stage.align_shard, plan, part, number, config, supervised=True)
            for number, part in enumerate(source.part_uris("images"))
        ]
        assert (
            stage.finish(plan, source, made, {}).parts
            == storage.open_artifact(crops, "align").parts
        )
        before = cluster.call(os.getpid)
        with pytest.raises(WorkerLost, match="_exit died"):
            cluster.call(os._exit, 1)
        assert cluster.call(os.getpid) != before, "its nanny started another"


def test_a_scheduler_without_workers_is_given_up(scheduler: str) -> None:
    config = ClusterConfig(dask_address=scheduler, worker_timeout=0.5)
    with closing(DaskCluster(config)) as cluster:
        for _ in range(2):  # the second shard does not wait as long again
            with pytest.raises(UnfitWorker, match=f"{scheduler}: no worker came within 0 s"):
                cluster.call(os.getpid)


def test_no_more_local_workers_start_than_there_are_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    client = start.start(ClusterConfig(), jobs=1)
    try:
        client.wait_for_workers(1, timeout=60)
        (first,) = client.run(os.getpid).values()
        start.add_workers(client, ClusterConfig(), jobs=30)
        client.wait_for_workers(2, timeout=60)
        assert first in client.run(os.getpid).values(), "it stays, and another one comes"
        start.add_workers(client, ClusterConfig(), jobs=1)
        assert len(client.run(os.getpid)) == 2
    finally:
        client.close()
        client.cluster.close()


@pytest.mark.parametrize("size", [{"workers": 2}, {"adapt": (1, 2)}])
def test_a_cluster_class_by_name(size: dict[str, Any]) -> None:
    with closing(DaskCluster(named("distributed.LocalCluster", ONE_THREAD, **size))) as cluster:
        assert cluster.call(os.getpid) != os.getpid()
        with pytest.raises(WorkerLost):
            cluster.call(os.abort)
        assert cluster.call(os.getpid) != os.getpid(), "another does the work"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"threads_per_worker": 2},
            "a worker has 2 threads, and a shard takes a process of its own",
        ),
        ({"processes": False}, "its workers are threads of this process"),
    ],
)
def test_workers_that_a_bad_photograph_would_take_others_down_with_are_refused(
    options: dict[str, Any], message: str
) -> None:
    config = named("distributed.LocalCluster", ONE_THREAD | options)
    with (
        closing(DaskCluster(config)) as cluster,
        pytest.raises(UnfitWorker, match=message),
    ):
        cluster.call(os.getpid)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("dask_kubernets.KubeCluster", {}, ConfigError, "No module named 'dask_kubernets'"),
        ("distributed.LocalClustr", {}, ConfigError, "has no attribute 'LocalClustr'"),
        ("distributed.LocalCluster", {"pods": 3}, FacenetError, r"did not start: \w+Error"),
    ],
)
def test_a_cluster_that_cannot_be_started_says_why(
    name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with (
        closing(DaskCluster(named(name, options))) as cluster,
        pytest.raises(error, match=message),
    ):
        cluster.call(os.getpid)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"dask_address": "tcp://a:1", "cluster_class": "b.C"}, "not both"),
        ({"cluster_options": {"n": 1}}, "are for a cluster_class"),
        ({"cluster_class": "b.C", "workers": 2, "adapt": [1, 2]}, "workers or adapt, not both"),
        ({"cluster_class": "b.C", "adapt": [5, 2]}, "fewest, then the most"),
        ({"cluster_class": "C"}, "cluster_class"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(section: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(PipelineConfig, {"cluster": section}, "pipeline.yaml")
