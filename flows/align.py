"""Align: raw shards into face crops, one Prefect task and one Dask task a shard."""

from __future__ import annotations

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from facenet_core import storage
from facenet_core.alignment import shard as core
from facenet_core.config import AlignConfig, ClusterConfig, IngestConfig
from flows.ingest import ingest
from tasks.align import align_shard
from tasks.artifacts import show_summary
from tasks.cluster import cluster
from tasks.progress import progress
from tasks.shards import gather
from tasks.summary import Run, StageSummary, already_made


@flow(
    name="align",
    flow_run_name="align {raw}",
    task_runner=ThreadPoolTaskRunner(max_workers=32),
    persist_result=True,
)
def align(
    raw: str,
    config: AlignConfig | None = None,
    root: str | None = None,
    where: ClusterConfig | None = None,
) -> StageSummary:
    """Find, crop and scale the faces of a raw artifact.

    Args:
        raw: URI of a raw artifact; a folder or archive of photographs is ingested first.
        config: how to crop.
        root: storage root, a folder or URI.
        where: Dask workers.
    """
    run = Run()
    config = config or AlignConfig()
    where = where or ClusterConfig()
    root = storage.absolute(root or storage.default_root())
    if storage.read_manifest(raw) is None:
        raw = ingest(IngestConfig(source=raw), root, where).uri
    raw = storage.absolute(raw)
    plan = core.plan_align(root, raw, config)
    if found := already_made(plan, run):
        return found
    storage.check_writable(root)
    raw_parts = core.raw_parts(raw)
    images = storage.open_artifact(raw, "ingest").counts["images"]
    done = faces = rejects = 0
    with cluster(where) as workers, progress("align", images) as report:

        def advance(shard: core.ShardSummary) -> None:
            nonlocal done, faces, rejects
            done += shard.images
            faces += shard.faces
            rejects += sum(shard.rejected.values())
            rate = done / max(run.seconds, 1e-6)
            report(done, text=f"{rate:.0f}/s, {rejects} rejects, {faces} faces")

        futures = [
            align_shard.submit(plan, part, number, config, workers)
            for number, part in enumerate(raw_parts)
        ]
        shards = gather("align", futures, advance)
    summary = StageSummary.of(plan, core.finish(plan, raw, shards, run.record()), run)
    show_summary(summary, f"align {plan.name}")
    return summary
