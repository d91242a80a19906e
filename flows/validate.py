"""Validate: a model on pairs of faces, by the LFW protocol."""

from __future__ import annotations

from prefect import flow

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.evaluation import validate as core
from tasks.artifacts import show_picture, show_summary
from tasks.summary import Run, StageSummary, already_made
from tasks.validate import validate_model


@flow(name="validate", flow_run_name="validate {model}", persist_result=True)
def validate(
    crops: str, model: str, config: ValidateConfig | None = None, root: str | None = None
) -> StageSummary:
    """Measure a model on pairs of crops and write the report.

    Args:
        crops: URI of a crops artifact with the pairs' images.
        model: URI of a model artifact.
        config: pairs, folds, metric.
        root: storage root, a folder or URI.
    """
    run = Run()
    config = config or ValidateConfig()
    root = storage.absolute(root or storage.default_root())
    plan = core.plan_validate(root, storage.absolute(crops), storage.absolute(model), config)
    if found := already_made(plan, run):
        return found
    storage.check_writable(root)
    validated = validate_model(plan, config)
    summary = StageSummary.of(plan, core.finish(plan, validated, run.record()), run)
    show_summary(summary, f"validate {plan.name}")
    show_picture(storage.join(plan.uri, "roc.png"), f"validate {plan.name} roc")
    return summary
