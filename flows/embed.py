"""Embed: crops into embeddings, one Prefect task and one Dask task a shard."""

from __future__ import annotations

from prefect.task_runners import ThreadPoolTaskRunner

from facenet_core import storage
from facenet_core.config import AlignConfig, ClusterConfig, EmbedConfig, Uri
from facenet_core.embedding import stage as core
from facenet_core.storage import Artifact, Plan
from flows.crops import crops_for
from tasks.dask.shards import run_on_workers
from tasks.embed import embed_shard
from tasks.models import bring_model
from tasks.prefect import names
from tasks.prefect.artifacts import show_summary
from tasks.prefect.credentials import open_root
from tasks.prefect.decorators import flow
from tasks.prefect.summary import Run, StageSummary, already_made


@flow(
    name="embed",
    flow_run_name=names.embed,
    task_runner=ThreadPoolTaskRunner(max_workers=32),
    persist_result=False,
)
def embed(
    source: Uri,
    model: Uri,
    config: EmbedConfig = EmbedConfig(),
    root: Uri | None = None,
    where: ClusterConfig = ClusterConfig(),
    storage_credentials: str | None = None,
    align: AlignConfig | None = None,
) -> StageSummary:
    """Embed all crops of an artifact by a model.

    Args:
        source: as the crops of `validate`.
        model: as for `validate`.
        config: runtime, precision, mirrored images.
        root: storage root, a folder or URI.
        where: Dask workers.
        storage_credentials: a Prefect block with the root's credentials.
        align: how photographs are aligned: the fields that are set replace the model's.
    """
    run = Run()
    root = open_root(root, storage_credentials)
    config.warn_of_unused()
    storage.check_writable(root)
    model = bring_model(root, model, run.record())
    crops = storage.open_artifact(crops_for(source, model, root, where, align), "align")
    plan = core.plan_embed(root, crops, storage.open_artifact(model, "train"), config)
    return already_made(plan, run) or _embed_shards(plan, crops, root, config, where, run)


def _embed_shards(
    plan: Plan, crops: Artifact, root: str, config: EmbedConfig, cluster: ClusterConfig, run: Run
) -> StageSummary:
    done = 0

    def count(shard: core.ShardSummary) -> tuple[int, str]:
        nonlocal done
        done += shard.crops
        return done, ""

    shards = [{"crops_part": part, "config": config} for part in crops.part_uris("crops")]
    number = crops.counts["crops"]
    summaries = run_on_workers(plan, root, embed_shard, shards, cluster, number, count, "crops")
    summary = StageSummary.of(plan, core.finish(plan, crops, summaries, run.record()), run)
    show_summary(summary, f"embed {plan.name}")
    return summary
