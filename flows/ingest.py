"""Ingest: photographs into raw shards."""

from __future__ import annotations

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from facenet_core import storage
from facenet_core.config import SYNTHETIC, ClusterConfig, IngestConfig
from facenet_core.datasets import ingest as core
from tasks.artifacts import show_summary
from tasks.cluster import cluster
from tasks.ingest import draw_shard, stream_source
from tasks.progress import progress
from tasks.shards import gather
from tasks.summary import Run, StageSummary, already_made


@flow(
    name="ingest",
    flow_run_name="ingest {config.source}",
    task_runner=ThreadPoolTaskRunner(max_workers=32),
    persist_result=True,
)
def ingest(
    config: IngestConfig, root: str | None = None, where: ClusterConfig | None = None
) -> StageSummary:
    """Download or read a data set into raw shards.

    Args:
        config: what to ingest.
        root: storage root, a folder or URI.
        where: Dask workers that draw synthetic faces.
    """
    run = Run()
    root = storage.absolute(root or storage.default_root())
    storage.check_writable(root)
    plan = core.plan_ingest(root, config)
    if found := already_made(plan, run):
        return found
    if config.source == SYNTHETIC:
        written = _draw(plan, where or ClusterConfig())
    else:
        written = stream_source(plan, config)
    summary = StageSummary.of(plan, core.finish(plan, written, run.record()), run)
    show_summary(summary, f"ingest {plan.name}")
    return summary


def _draw(plan: storage.Plan, where: ClusterConfig) -> core.Written:
    shards = plan.config["shards"]
    total = plan.config["identities"] * plan.config["images_per_identity"]
    done = 0
    with cluster(where) as workers, progress("ingest", total) as report:

        def advance(part: storage.Part) -> None:
            nonlocal done
            done += part.rows
            report(done)

        futures = [draw_shard.submit(plan, number, workers) for number in range(shards)]
        return core.drawn(plan, gather("ingest", futures, advance))
