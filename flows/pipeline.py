"""The pipeline: ingest, align, audit, train, validate, each only as far as it is not done yet.

Where identification is on, the validation crops are embedded by the stage `embed`.

`python -m flows.pipeline --config FILE` is `facenet run --config FILE`.
"""

from __future__ import annotations

from facenet_core import storage
from facenet_core.config import PipelineConfig, holdout_of
from facenet_core.evaluation.stage import check_pairs
from flows.align import align
from flows.audit import audit
from flows.embed import embed
from flows.ingest import ingest
from flows.train import train
from flows.validate import validate
from tasks.dask.cluster import dask_cluster
from tasks.prefect import names
from tasks.prefect.credentials import open_root
from tasks.prefect.decorators import flow
from tasks.prefect.summary import PipelineSummary


@flow(name="pipeline", flow_run_name=names.pipeline, persist_result=False)
def pipeline(config: PipelineConfig) -> PipelineSummary:
    """Photographs to a validated model.

    Args:
        config: one section a stage, `holdout` for the people to validate on, `storage`
            and its credentials, `cluster`.
    """
    holdout = holdout_of(config)
    root = open_root(config.storage, config.storage_credentials)
    storage.check_writable(root)

    with dask_cluster(config.cluster):
        raw = ingest(config.ingest, root, config.cluster)
        holdout_raw = ingest(holdout.ingest, root, config.cluster)
        crops = align(raw.uri, config.align, root, config.cluster)
        holdout_align = holdout.align or config.align
        holdout_crops = align(holdout_raw.uri, holdout_align, root, config.cluster)
        check_pairs(holdout_crops.uri, config.validation)  # now, not after hours of training
        audited, training = None, config.train
        if config.audit.model is not None:
            against = config.audit.against or holdout_crops.uri
            audit_config = config.audit.model_copy(update={"against": against})
            audited = audit(crops.uri, audit_config, root, config.cluster, config.embed)
            training = training.model_copy(update={"audit": audited.uri})
    model = train(crops.uri, training, root, config.cluster)
    embeddings = None
    if config.validation.identification:  # of all crops, which takes more than one process
        fields = {"use_flipped_images", "precision"}
        settings = config.embed.model_copy(update=config.validation.model_dump(include=fields))
        embeddings = embed(holdout_crops.uri, model.uri, settings, root, config.cluster)
    source = embeddings or holdout_crops
    report = validate(source.uri, model.uri, config.validation, root)
    return PipelineSummary(
        raw=raw,
        crops=crops,
        holdout_raw=holdout_raw,
        holdout_crops=holdout_crops,
        audit=audited,
        model=model,
        embeddings=embeddings,
        report=report,
    )


if __name__ == "__main__":
    import runpy
    import sys

    sys.argv.insert(1, "run")
    runpy.run_module("flows.cli", run_name="__main__")  # by name: flows do not import flows.cli
