"""Ingest: photographs into raw shards."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

from facenet_core import storage
from facenet_core.config import SYNTHETIC, ClusterConfig, IngestConfig, Uri
from facenet_core.datasets import stage as core
from facenet_core.fetch.partial_file import Stored, remove
from tasks.dask.shards import run_on_workers
from tasks.ingest import Transfers, draw_shard, fetch_file, stream_source
from tasks.prefect import names
from tasks.prefect.artifacts import show_summary
from tasks.prefect.credentials import open_root
from tasks.prefect.decorators import flow
from tasks.prefect.progress import progress
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
    if summary := already_made(plan, run):
        core.check_accepted(plan.inputs[0].uri, summary.counts, config)
        core.warn_of_skipped(plan, summary.counts)
        return summary
    if config.source == SYNTHETIC:
        outcome = _draw(plan, root, where)
    else:
        outcome = stream_source(root, plan, config)
    manifest = core.finish(plan, outcome, run.record(), files)
    core.warn_of_skipped(plan, manifest.counts)
    if files and not config.keep_download:
        remove(files[0])  # the photographs; beside them lie their pairs, which validate reads
    summary = StageSummary.of(plan, manifest, run)
    show_summary(summary, f"ingest {plan.name}")
    return summary


def _fetch(root: str, config: IngestConfig) -> list[Stored]:
    """Download what the source consists of, all files at the same time."""
    files = () if config.source == SYNTHETIC else core.locate(root, config).files
    if not files:
        return []
    with progress("fetch", None, "MB") as report:
        transfers = Transfers(report)
        try:
            futures = [fetch_file.submit(file, transfers) for file in files]
            return [future.result() for future in futures]
        finally:
            transfers.stop()


def _draw(plan: storage.Plan, root: str, cluster: ClusterConfig) -> storage.Outcome:
    total = plan.config["identities"] * plan.config["images_per_identity"]
    drawn = Counter[str]()

    def count(part: storage.Part) -> tuple[int, str]:
        drawn.update(images=part.rows)
        return drawn["images"], ""

    shards: list[dict[str, Any]] = [{} for _ in range(plan.config["shards"])]
    parts = run_on_workers(plan, root, draw_shard, shards, cluster, total, count)
    return core.join_shards(plan, parts)
