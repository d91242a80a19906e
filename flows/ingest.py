"""Ingest: photographs into raw shards."""

from __future__ import annotations

from prefect.task_runners import ThreadPoolTaskRunner

from facenet_core import storage
from facenet_core.config import SYNTHETIC, ClusterConfig, IngestConfig, Uri
from facenet_core.datasets import stage as core
from facenet_core.datasets.fetch.partial_file import Stored, remove
from tasks.dask.cluster import cluster
from tasks.ingest import Transfers, draw_shard, fetch_file, stream_source
from tasks.prefect import names
from tasks.prefect.artifacts import show_summary
from tasks.prefect.credentials import open_root
from tasks.prefect.progress import progress
from tasks.prefect.recorded import flow
from tasks.prefect.shards import run_shards
from tasks.prefect.summary import Run, StageSummary, already_made


@flow(
    name="ingest",
    flow_run_name=names.ingest,
    task_runner=ThreadPoolTaskRunner(max_workers=32),
    persist_result=False,
)
def ingest(
    config: IngestConfig,
    root: Uri | None = None,
    where: ClusterConfig = ClusterConfig(),
    storage_credentials: str | None = None,
) -> StageSummary:
    """Download or read a data set into raw shards.

    Args:
        config: what to ingest.
        root: storage root, a folder or URI.
        where: Dask workers that draw synthetic faces.
        storage_credentials: a Prefect block with the root's credentials.
    """
    run = Run()
    root = open_root(root, storage_credentials)
    storage.check_writable(root)
    files = _fetch(root, config)
    plan = core.plan_ingest(root, config)
    if found := already_made(plan, run):
        core.check_accepted(plan.inputs[0].uri, found.counts, config)
        core.warn_of_skipped(plan, found.counts)
        return found
    if config.source == SYNTHETIC:
        outcome = _draw(plan, root, where)
    else:
        outcome = stream_source(root, plan, config)
    manifest = core.finish(plan, outcome, run.record(), files)
    core.warn_of_skipped(plan, manifest.counts)
    if not config.keep_download:
        for file in files:
            remove(file)
    summary = StageSummary.of(plan, manifest, run)
    show_summary(summary, f"ingest {plan.name}")
    return summary


def _fetch(root: str, config: IngestConfig) -> list[Stored]:
    """Download what the source consists of, all files at the same time."""
    wanted = () if config.source == SYNTHETIC else core.locate(root, config).files
    if not wanted:
        return []
    with progress("fetch", None, "MB") as report:
        transfers = Transfers(report)
        try:
            futures = [fetch_file.submit(file, transfers) for file in wanted]
            return [future.result() for future in futures]
        finally:
            transfers.stop()


def _draw(plan: storage.Plan, root: str, where: ClusterConfig) -> storage.Outcome:
    total = plan.config["identities"] * plan.config["images_per_identity"]
    done = 0
    with cluster(where) as workers, progress("ingest", total) as report:

        def advance(part: storage.Part) -> None:
            nonlocal done
            done += part.rows
            report(done)

        parts = run_shards(
            plan,
            root,
            draw_shard,
            lambda number: {"plan": plan, "cluster": workers},
            plan.config["shards"],
            lambda part: [part],
            advance,
        )
        return core.drawn(plan, parts)
