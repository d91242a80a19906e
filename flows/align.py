"""Align: raw shards into face crops, one Prefect task and one Dask task a shard."""

from __future__ import annotations

from collections import Counter

from prefect.task_runners import ThreadPoolTaskRunner

from facenet_core import storage
from facenet_core.alignment import stage as core
from facenet_core.alignment.export import check_folder
from facenet_core.config import AlignConfig, ClusterConfig, IngestConfig, Uri
from facenet_core.housekeeping.promotion import resolve
from facenet_core.storage import Artifact, Plan
from flows.ingest import ingest
from tasks.align import align_shard, export_crops, show_outcome
from tasks.dask.shards import run_on_workers
from tasks.prefect import names
from tasks.prefect.artifacts import show_summary
from tasks.prefect.credentials import open_root
from tasks.prefect.decorators import flow
from tasks.prefect.summary import Run, StageSummary, already_made


@flow(
    name="align",
    flow_run_name=names.align,
    task_runner=ThreadPoolTaskRunner(max_workers=32),
    persist_result=False,
)
def align(
    raw: Uri,
    config: AlignConfig = AlignConfig(),
    root: Uri | None = None,
    where: ClusterConfig = ClusterConfig(),
    export: str | None = None,
    storage_credentials: str | None = None,
) -> StageSummary:
    """Find, crop and scale the faces of a raw artifact.

    Args:
        raw: URI of a raw artifact; a folder or archive of photographs is ingested first.
        config: how to crop.
        root: storage root, a folder or URI.
        where: Dask workers.
        export: a new or empty local folder for the crops as image files.
        storage_credentials: a Prefect block with the root's credentials.
    """
    run = Run()
    root = open_root(root, storage_credentials)
    raw = resolve(root, raw, "ingest")
    if storage.is_address(raw) or storage.read_manifest(raw) is None:
        raw = ingest(IngestConfig(source=raw), root, where).uri
    source = storage.open_artifact(storage.absolute(raw), "ingest")
    plan = core.plan_align(root, source, config)
    if export is not None:
        check_folder(storage.local_folder(export), plan.fingerprint)  # before hours of work
    summary = already_made(plan, run) or _align_shards(plan, source, root, config, where, run)
    core.warn_of_formats(plan, summary.counts)
    if export is not None:
        export_crops(summary.uri, export)
    return summary


def _align_shards(
    plan: Plan, raw: Artifact, root: str, config: AlignConfig, cluster: ClusterConfig, run: Run
) -> StageSummary:
    storage.check_writable(root)
    done = Counter[str]()

    def count(shard: core.ShardSummary) -> tuple[int, str]:
        done.update(images=shard.images, faces=shard.faces)
        done.update(rejects=sum(shard.rejected.values()))
        return done["images"], f", {done['faces']} faces, {done['rejects']} rejects"

    shards = [{"raw_part": part, "config": config} for part in raw.part_uris("images")]
    images = raw.counts["images"]
    summaries = run_on_workers(plan, root, align_shard, shards, cluster, images, count)
    summary = StageSummary.of(plan, core.finish(plan, raw, summaries, run.record()), run)
    show_summary(summary, f"align {plan.name}")
    show_outcome(summary, plan.name)
    return summary
