"""Tasks of the align stage."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from facenet_core.alignment import shard as core
from facenet_core.config import AlignConfig
from facenet_core.storage import Plan
from tasks.cluster import Cluster
from tasks.retrying import SHARD_RETRIES, retry_can_help


@task(
    task_run_name="align shard {number}",
    cache_policy=NO_CACHE,
    retry_condition_fn=retry_can_help,
    **SHARD_RETRIES,
)
def align_shard(
    plan: Plan, raw_part: str, number: int, config: AlignConfig, cluster: Cluster
) -> core.ShardSummary:
    """Detect and crop the faces of one raw shard on a Dask worker."""
    return cluster.call(core.align_shard, plan, raw_part, number, config)
