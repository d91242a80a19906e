"""Train: face crops into an embedding model."""

from __future__ import annotations

from facenet_core import storage
from facenet_core.config import ClusterConfig, EmbedConfig, TrainConfig, Uri
from facenet_core.embedding.artifact import find_embeddings
from facenet_core.housekeeping.promotion import resolve
from facenet_core.models.model_crops import alignment_of, made_alike
from facenet_core.training import stage as core
from flows.embed import embed
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
            `filter_model`, `teacher`, `lfw_dir` and `audit` are URIs or `newest:NAME`; the second
            to fourth may be models from elsewhere, as for `validate`. A teacher embeds the
            photographs first.
        root: storage root, a folder or URI.
        where: the Dask workers that train, if `train_workers` says how many.
        storage_credentials: a Prefect block with the root's credentials.
    """
    run = Run()
    root = open_root(root, storage_credentials)
    crops = storage.absolute(resolve(root, crops, "align"))
    config = _resolved(config, root, run)
    if config.teacher is not None:
        core.check_train(crops, config)
        uri = _teachers_embeddings(config.teacher, crops, root, where, run)
        config = config.model_copy(update={"teacher": uri})
    plan = core.plan_train(root, crops, config)
    if summary := already_made(plan, run):
        return summary
    storage.check_writable(root)
    outcome = train_model(plan, config, run.id, where)
    summary = StageSummary.of(plan, core.finish(plan, outcome, run.record()), run)
    show_summary(summary, f"train {plan.name}")
    show_curves(plan)
    return summary


def _teachers_embeddings(
    reference: str, crops_uri: str, root: str, where: ClusterConfig, run: Run
) -> str:
    """The URI of embeddings by the teacher, which are made where there are none yet.

    They are of these crops where the teacher takes crops made like them, else of crops of the same
    photographs that are made as the teacher's are, unless the photographs are gone.
    """
    if (embeddings := find_embeddings(reference)) is not None:
        return embeddings.uri
    model = bring_model(root, reference, run.record())
    crops = storage.open_artifact(crops_uri, "align")
    source = crops_uri
    if not made_alike(crops.config, alignment_of(model)):
        photographs = storage.find_artifact(crops.inputs[0].uri) if crops.inputs else None
        if photographs is not None and photographs.fingerprint == crops.inputs[0].fingerprint:
            source = photographs.uri
    return embed(source, model, EmbedConfig(use_flipped_images=True), root, where).uri


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
