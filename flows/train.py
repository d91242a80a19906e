"""Train: face crops into an embedding model."""

from __future__ import annotations

from facenet_core import storage
from facenet_core.config import ClusterConfig, TrainConfig, Uri
from facenet_core.housekeeping.promotion import resolve
from facenet_core.training import stage as core
from tasks.models import bring_model
from tasks.prefect import names
from tasks.prefect.artifacts import show_summary
from tasks.prefect.credentials import open_root
from tasks.prefect.decorators import flow
from tasks.prefect.summary import Run, StageSummary, already_made
from tasks.train import show_curves, train_model


@flow(name="train", flow_run_name=names.train, persist_result=False)
def train(
    crops: Uri,
    config: TrainConfig = TrainConfig(),
    root: Uri | None = None,
    where: ClusterConfig = ClusterConfig(),
    storage_credentials: str | None = None,
) -> StageSummary:
    """Train a model on crops, continuing from the newest checkpoint of an interrupted run.

    Args:
        crops: URI of a crops artifact, or `newest:NAME`.
        config: network, losses, optimizer, schedule, augmentation; `resume`, `pretrained_model`,
            `filter_model`, `lfw_dir` and `audit` are URIs or `newest:NAME`, the second and third
            also models from elsewhere, as for `validate`.
        root: storage root, a folder or URI.
        where: the Dask workers that train, if `train_workers` says how many.
        storage_credentials: a Prefect block with the root's credentials.
    """
    run = Run()
    root = open_root(root, storage_credentials)
    crops = storage.absolute(resolve(root, crops, "align"))
    config = _resolved(config, root, run)
    plan = core.plan_train(root, crops, config)
    if summary := already_made(plan, run):
        return summary
    storage.check_writable(root)
    outcome = train_model(plan, config, run.id, where)
    summary = StageSummary.of(plan, core.finish(plan, outcome, run.record()), run)
    show_summary(summary, f"train {plan.name}")
    show_curves(plan)
    return summary


def _resolved(config: TrainConfig, root: str, run: Run) -> TrainConfig:
    """The configuration with references to artifacts replaced by their URIs; models from elsewhere
    are imported."""
    uris: dict[str, str] = {}
    for field, stage in (("resume", "train"), ("lfw_dir", "align"), ("audit", "audit")):
        if (reference := getattr(config, field)) is not None:
            uris[field] = storage.absolute(resolve(root, reference, stage))
    for field in ("pretrained_model", "filter_model"):
        if (reference := getattr(config, field)) is not None:
            uris[field] = bring_model(root, reference, run.record())
    return config.model_copy(update=uris)
