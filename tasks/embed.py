"""The task of the embed stage."""

from __future__ import annotations

from prefect import get_run_logger

from facenet_core.config import EmbedConfig
from facenet_core.embedding import stage as core
from facenet_core.storage import Plan
from tasks.dask.cluster import DaskCluster, WorkerLost
from tasks.prefect.shards import shard_task


@shard_task("embed")
def embed_shard(
    plan: Plan, crops_part: str, number: int, count: int, config: EmbedConfig, workers: DaskCluster
) -> core.ShardSummary:
    """Embed the crops of one shard on a Dask worker.

    Raises:
        WorkerLost: the worker died, also at the last try: no crop may be left out.
    """
    try:
        summary = workers.call(core.embed_shard, plan, crops_part, number, config, supervised=True)
    except WorkerLost as error:
        raise WorkerLost(f"{crops_part}: {error}") from error
    get_run_logger().info("%s: %d crops embedded", crops_part, summary.crops)
    return summary
