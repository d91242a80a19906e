"""Tasks of the ingest stage."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from facenet_core.config import IngestConfig
from facenet_core.datasets import ingest as core
from facenet_core.storage import Part, Plan
from tasks.cluster import Cluster
from tasks.progress import progress
from tasks.retrying import SHARD_RETRIES, retry_can_help


@task(
    task_run_name="draw shard {number}",
    cache_policy=NO_CACHE,
    retry_condition_fn=retry_can_help,
    **SHARD_RETRIES,
)
def draw_shard(plan: Plan, number: int, cluster: Cluster) -> Part:
    """Draw one shard of synthetic faces on a Dask worker."""
    return cluster.call(core.draw_shard, plan, number)


@task(
    task_run_name="read {plan.name}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=retry_can_help,
)
def stream_source(plan: Plan, config: IngestConfig) -> core.Written:
    """Write the raw shards of a folder or archive in one pass."""
    with progress("ingest", None) as report:
        return core.stream(plan, config, report)
