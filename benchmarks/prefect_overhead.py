"""What a shard costs beside its work: Prefect's and Dask's part of it.

    python benchmarks/prefect_overhead.py [300 2000]

starts a server, then runs a flow of so many shards of no work, each as the align stage does it: a
Prefect task with retries, a remembered result in the storage root, and a Dask task on a worker
process. It prints the time a shard, of a first run and of one that finds every shard remembered,
and counts the task runs that the server has recorded.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "deployments"))
from local_site import Site

from facenet_core.runtime import free_port

WORKERS = 2
PATIENCE = 60.0  # seconds without another record before the rest is taken for lost


def nothing(number: int) -> int:
    """The work of a shard."""
    return number


def run(root: str, shards: int, seed: int) -> tuple[str, float]:
    """One flow run; returns its id and the seconds from the first shard to the last."""
    from prefect import flow
    from prefect.runtime import flow_run
    from prefect.task_runners import ThreadPoolTaskRunner

    from facenet_core import storage
    from facenet_core.alignment.stage import ShardSummary
    from facenet_core.config import ClusterConfig
    from tasks.dask.cluster import DaskCluster, dask_cluster
    from tasks.prefect.shards import run_shards, shard_task

    @shard_task("idle")
    def idle_shard(
        plan: storage.Plan, number: int, count: int, workers: DaskCluster
    ) -> ShardSummary:
        workers.call(nothing, number)
        return ShardSummary(number, images=0, faces=0, rejected={}, parts=())

    @flow(name="idle", task_runner=ThreadPoolTaskRunner(max_workers=32))
    def idle() -> tuple[str, float]:
        plan = storage.plan_stage(root, "align", "idle", {"seed": seed}, [], 1)
        with dask_cluster(ClusterConfig(workers=WORKERS)) as workers:
            workers.call(nothing, 0)  # the workers' start is no shard's cost
            started = time.perf_counter()
            run_shards(plan, root, idle_shard, [{"workers": workers}] * shards)
            seconds = time.perf_counter() - started
        return str(flow_run.id), seconds

    return idle()


def recorded(site: Site, flow_run: str, expected: int) -> dict[str, int]:
    """The number of task runs by state, once the server has written all that it was sent."""
    results: dict[str, int] = {}
    grew = time.monotonic()
    while results.get("COMPLETED") != expected and time.monotonic() - grew < PATIENCE:
        before = dict(results)
        for state in ("COMPLETED", "RUNNING", "PENDING", "FAILED", "CRASHED"):
            body = {
                "flow_runs": {"id": {"any_": [flow_run]}},
                "task_runs": {"state": {"type": {"any_": [state]}}},
            }
            results[state] = site.call("POST", "task_runs/count", body)
        if results != before:
            grew = time.monotonic()
        time.sleep(0.5)
    return {state: count for state, count in results.items() if count}


def main() -> int:
    sizes = [int(word) for word in sys.argv[1:]] or [300, 2000]
    with tempfile.TemporaryDirectory(prefix="facenet-overhead-") as folder:
        site = Site(Path(folder) / "prefect", free_port(), str(Path(folder) / "store"))
        os.environ.update(site.environment, PREFECT_LOGGING_LEVEL="ERROR")
        try:
            started = time.perf_counter()
            site.start_server("--no-ui")
            print(f"the server answers after {time.perf_counter() - started:.1f} s")
            for seed, shards in enumerate(sizes):
                for what in ("first", "again"):
                    flow_run, seconds = run(site.storage, shards, seed)
                    states = recorded(site, flow_run, shards)
                    print(
                        f"{shards:5} shards, {what}: {1000 * seconds / shards:5.1f} ms a shard, "
                        f"{seconds:6.1f} s; recorded: {states}"
                    )
        finally:
            site.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
