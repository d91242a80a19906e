"""Validate: a model on pairs of faces, by the LFW protocol."""

from __future__ import annotations

from facenet_core import storage
from facenet_core.config import AlignConfig, ClusterConfig, Uri, ValidateConfig
from facenet_core.embedding import artifact as embedding
from facenet_core.errors import ConfigError
from facenet_core.evaluation import compare_reports
from facenet_core.evaluation import stage as core
from facenet_core.housekeeping.promotion import enforce
from facenet_core.storage import Plan
from flows.crops import crops_for
from tasks.models import bring_model
from tasks.prefect import names
from tasks.prefect.artifacts import show_folds, show_picture, show_summary
from tasks.prefect.credentials import open_root
from tasks.prefect.decorators import flow
from tasks.prefect.summary import Run, StageSummary, already_made
from tasks.validate import compare_models, validate_model


@flow(name="validate", flow_run_name=names.validate, persist_result=False)
def validate(
    crops: Uri,
    model: Uri | None = None,
    config: ValidateConfig = ValidateConfig(),
    root: Uri | None = None,
    storage_credentials: str | None = None,
    align: AlignConfig | None = None,
    where: ClusterConfig = ClusterConfig(),
) -> StageSummary:
    """Measure a model on pairs of crops and write the report.

    Args:
        crops: URI of a crops artifact with the pairs' images, or of an artifact of embeddings of
            these, which brings its model; `newest:NAME` of crops, or an InsightFace verification
            set (`lfw.bin`), which brings images and pairs; or a data set's name (`lfw`), a raw
            artifact, an address, a folder or an archive of photographs, which are ingested, and
            aligned as the model's crops are.
        model: URI of a model artifact, `newest:NAME`, `promoted:NAME`, a name of the catalogue
            of models, which is fetched first, or a model from elsewhere (`.keras`, TensorFlow 1,
            `.h5`, `.pt`, `.safetensors`, `.onnx`), which is imported first.
        config: pairs, folds, metric.
        root: storage root, a folder or URI.
        storage_credentials: a Prefect block with the root's credentials.
        align: how photographs are aligned: the fields that are set replace the model's.
        where: Dask workers that align photographs.
    """
    run = Run()
    root = open_root(root, storage_credentials)
    embeddings = embedding.find_embeddings(crops)
    if embeddings is not None:
        crops = embedding.open_crops(embeddings).uri
        model = model or embedding.model_of(embeddings).uri
    if model is None:
        raise ConfigError(f"{crops}: name a model, too; only embeddings bring theirs")
    model = bring_model(root, model, run.record())
    crops = crops_for(crops, model, root, where, align)
    plan = core.plan_validate(root, crops, model, config, embeddings)
    summary = already_made(plan, run) or _measure(plan, root, config, run)
    enforce(root, plan.uri)
    return summary


@flow(name="compare", flow_run_name="compare {model_a} {model_b}", persist_result=False)
def compare(
    crops: Uri,
    model_a: Uri,
    model_b: Uri,
    config: ValidateConfig = ValidateConfig(),
    root: Uri | None = None,
    storage_credentials: str | None = None,
    align: AlignConfig | None = None,
    where: ClusterConfig = ClusterConfig(),
) -> StageSummary:
    """Measure two models on the same pairs, each with its report, and compare them.

    Args:
        crops: as for `validate`.
        model_a: as for `validate`.
        model_b: the model that is better or worse than it.
        config: pairs, folds, metric; its name is that of the comparison.
        root: storage root, a folder or URI.
        storage_credentials: a Prefect block with the root's credentials.
        align: how photographs are aligned: the fields that are set replace the model's.
        where: Dask workers that align photographs.
    """
    run = Run()
    root = open_root(root, storage_credentials)
    alone = config.model_copy(update={"name": None})
    report_a = validate(crops, model_a, alone, root, align=align, where=where)
    report_b = validate(crops, model_b, alone, root, align=align, where=where)
    plan = compare_reports.plan_compare(root, report_a.uri, report_b.uri, config)
    if summary := already_made(plan, run):
        return summary
    outcome = compare_models(plan, config)
    manifest = compare_reports.finish(plan, outcome, run.record())
    return StageSummary.of(plan, manifest, run)


def _measure(plan: Plan, root: str, config: ValidateConfig, run: Run) -> StageSummary:
    storage.check_writable(root)
    outcome = validate_model(plan, config)
    manifest = core.finish(plan, outcome, run.record())
    summary = StageSummary.of(plan, manifest, run)
    verdict = "Promoted" if manifest.details["promoted"] else "Not promoted"
    report = f"The whole report: `{storage.join(plan.uri, 'report.html')}`"
    notes = [f"**{verdict}**: {manifest.details['why']}", report]
    show_summary(summary, f"validate {plan.name}", notes)
    show_folds(summary.metrics["folds"], f"validate {plan.name}")
    show_picture(storage.join(plan.uri, "roc.png"), f"validate {plan.name} roc")
    return summary
