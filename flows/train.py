"""Train: face crops into an embedding model."""

from __future__ import annotations

from prefect import flow

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.training import loop as core
from tasks.artifacts import show_summary
from tasks.summary import Run, StageSummary, already_made
from tasks.train import train_model


@flow(name="train", flow_run_name="train {config.model_def}", persist_result=True)
def train(crops: str, config: TrainConfig | None = None, root: str | None = None) -> StageSummary:
    """Train a model on crops, continuing from the newest checkpoint of an interrupted run.

    Args:
        crops: URI of a crops artifact.
        config: network, losses, optimizer, schedule, augmentation.
        root: storage root, a folder or URI.
    """
    run = Run()
    config = config or TrainConfig()
    root = storage.absolute(root or storage.default_root())
    plan = core.plan_train(root, storage.absolute(crops), config)
    if found := already_made(plan, run):
        return found
    storage.check_writable(root)
    trained = train_model(plan, config, run.id)
    summary = StageSummary.of(plan, core.finish(plan, trained, run.record()), run)
    show_summary(summary, f"train {plan.name}")
    return summary
