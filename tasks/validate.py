"""The task of the validate stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.cache_policies import NO_CACHE

from facenet_core.config import ValidateConfig
from facenet_core.datasets import import_bin
from facenet_core.evaluation import compare_reports
from facenet_core.evaluation import stage as core
from facenet_core.storage import Manifest, Outcome, Plan
from tasks.prefect.decorators import task
from tasks.prefect.progress import progress
from tasks.prefect.retries import WHOLE_STAGE


@task(task_run_name="validate {plan.name}", **WHOLE_STAGE)
def validate_model(plan: Plan, config: ValidateConfig) -> Outcome:
    """Embed the pairs' images, measure, and write the report."""
    with progress("validate", None) as report:
        return core.validate(plan, config, progress=report)


@task(task_run_name="compare {plan.name}", cache_policy=NO_CACHE)
def compare_models(plan: Plan, config: ValidateConfig) -> Outcome:
    """Compare two reports on the same pairs."""
    return compare_reports.compare_reports(plan, config)


@task(task_run_name="import {plan.name}", cache_policy=NO_CACHE)
def import_set(plan: Plan, uri: str, run: Mapping[str, Any]) -> Manifest:
    """An InsightFace verification set becomes crops that bring their pairs."""
    return import_bin.import_set(plan, uri, run)
