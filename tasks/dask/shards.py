"""Runs the shards of a stage on Dask workers, with their progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import Task

from facenet_core.config import ClusterConfig
from facenet_core.storage import Plan
from tasks.dask.cluster import dask_cluster
from tasks.prefect.progress import progress
from tasks.prefect.shards import Result, run_shards

Done = Callable[[Result], tuple[int, str]]


def run_on_workers(
    plan: Plan,
    root: str,
    shard: Task[..., Result],
    shards: Sequence[Mapping[str, Any]],
    cluster: ClusterConfig,
    images: int,
    count: Done[Result],
    unit: str = "images",
) -> list[Result]:
    """Run a task for each shard, with Dask workers; returns the results in order.

    Args:
        shard: as for `run_shards`, with a parameter `workers` besides.
        images: how many there are in all shards, for the progress.
        count: called with each result as it comes: how many images are done now, in all, and what
            else to say of them.
        unit: what the progress counts.

    Raises:
        ShardsFailed: naming each shard that did not complete, and why.
    """
    with dask_cluster(cluster) as workers, progress(plan.stage, images, unit) as report:
        workers.start(len(shards))
        started = time.monotonic()

        def advance(result: Result) -> None:
            done, text = count(result)
            rate = done / max(time.monotonic() - started, 1e-6)
            report(done, text=f"{rate:.0f}/s{text}")

        own = [{**each, "workers": workers} for each in shards]
        return run_shards(plan, root, shard, own, advance)
