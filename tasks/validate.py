"""The task of the validate stage."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from facenet_core.config import ValidateConfig
from facenet_core.evaluation import validate as core
from facenet_core.storage import Plan
from tasks.progress import progress
from tasks.retrying import retry_can_help


@task(
    task_run_name="validate {plan.name}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=retry_can_help,
)
def validate_model(plan: Plan, config: ValidateConfig) -> core.Validated:
    """Embed the pairs' images, measure, and write the report."""
    with progress("validate", None) as report:
        return core.validate(plan, config, progress=report)
