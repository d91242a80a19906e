"""Audit: what is wrong with a set of faces, before anybody trains on it."""

from __future__ import annotations

from facenet_core import storage
from facenet_core.audit import stage as core
from facenet_core.config import AuditConfig, ClusterConfig, EmbedConfig, Uri
from facenet_core.embedding.artifact import find_embeddings, model_of
from facenet_core.errors import ConfigError
from facenet_core.housekeeping.promotion import resolve
from flows.embed import embed
from tasks.audit import audit_faces, show_findings
from tasks.prefect import names
from tasks.prefect.artifacts import show_summary
from tasks.prefect.credentials import open_root
from tasks.prefect.decorators import flow
from tasks.prefect.summary import Run, StageSummary, already_made


@flow(name="audit", flow_run_name=names.audit, persist_result=False)
def audit(
    source: Uri,
    config: AuditConfig = AuditConfig(),
    root: Uri | None = None,
    where: ClusterConfig = ClusterConfig(),
    embed_config: EmbedConfig = EmbedConfig(),
    storage_credentials: str | None = None,
) -> StageSummary:
    """Find wrong labels, duplicates, mixed and split identities, no faces, and leaks.

    Args:
        source: URI of an embeddings artifact, or what `embed` takes: crops, photographs.
        config: the model that embeds crops, what must not be in the set, thresholds.
        root: storage root, a folder or URI.
        where: Dask workers, to embed.
        embed_config: runtime and precision, to embed.
        storage_credentials: a Prefect block with the root's credentials.
    """
    run = Run()
    root = open_root(root, storage_credentials)

    def embedded(reference: str, model: str | None) -> str:
        uri = resolve(root, reference, "align")
        if (embeddings := find_embeddings(uri)) is not None:
            return embeddings.uri
        if model is None:
            raise ConfigError(f"{uri}: to audit crops, name the model to embed them with (--model)")
        return embed(uri, model, embed_config, root, where).uri

    embeddings, against = embedded(source, config.model), None
    if config.against is not None:
        # Both by one model: without a name, by that of the embeddings.
        model = config.model or model_of(storage.open_artifact(embeddings, "embed")).uri
        against = embedded(config.against, model)
    plan = core.plan_audit(root, embeddings, config, against)
    return already_made(plan, run) or _audit(plan, root, config, run)


def _audit(plan: storage.Plan, root: str, config: AuditConfig, run: Run) -> StageSummary:
    storage.check_writable(root)
    outcome = audit_faces(plan, config)
    summary = StageSummary.of(plan, core.finish(plan, outcome, run.record()), run)
    report = f"The whole report: `{storage.join(plan.uri, core.REPORT)}`"
    show_summary(summary, f"audit {plan.name}", [report])
    show_findings(plan)
    return summary
