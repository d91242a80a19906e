"""Compare: two reports on the same pairs become a third.

plan = plan_compare(root, report_a, report_b, config)
outcome = compare_reports(plan, config)
finish(plan, outcome, run)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.errors import PairsError
from facenet_core.evaluation.protocol.bootstrap import Sampling
from facenet_core.evaluation.protocol.comparison import compare
from facenet_core.evaluation.protocol.verification import IndexedPairs, Verification, verify
from facenet_core.evaluation.stage import to_json
from facenet_core.storage import Artifact, Manifest, Outcome, Plan, parquet, schemas

STAGE_FORMAT = 1
_TITLES = {"accuracy": "Accuracy", "val_rate": "VAL", "auc": "AUC", "eer": "EER"}
_SCHEMA = pa.schema([field for field in schemas.PAIRS if field.name != "distance"])


def plan_compare(root: str, report_a: str, report_b: str, config: ValidateConfig) -> Plan:
    """Plan the comparison of two reports.

    Raises:
        ArtifactError: either is not a finished report.
    """
    first, second = (storage.open_artifact(uri, "validate") for uri in (report_a, report_b))
    inputs = (first.as_input(), second.as_input())
    name = config.name or f"{first.name}-vs-{second.name}"[:100]
    resolved = {"comparison": True, "bootstrap_replicates": config.bootstrap_replicates}
    return storage.plan_stage(root, "validate", name, resolved, inputs, STAGE_FORMAT)


def compare_reports(plan: Plan, config: ValidateConfig) -> Outcome:
    """Compare the models of two reports and write the comparison.

    Everything is taken from the reports' pairs and embeddings.

    Raises:
        PairsError: the reports are not about the same pairs.
    """
    reports = [storage.open_artifact(entry.uri, "validate") for entry in plan.inputs]
    table, other = (parquet.read_table(each.file_uri("pairs.parquet")) for each in reports)
    columns = [field.name for field in _SCHEMA]
    if not table.select(columns).equals(other.select(columns)):
        raise PairsError(
            f"{reports[0].uri} and {reports[1].uri}: reports on different pairs; compare models "
            "on the same photographs with the same options"
        )
    # Of models with crops of their own, one may have a crop of a photograph and the other none.
    evaluated = pc.and_(table["distance"].is_valid(), other["distance"].is_valid())
    pairs = table.filter(evaluated)
    first, identities = _verification(reports[0], pairs, config)
    second, _ = _verification(reports[1], pairs, config)
    sampling = Sampling.of(identities[first.pairs.a], identities[first.pairs.b], first.pairs.same)
    comparison = compare(first, second, sampling, count=config.bootstrap_replicates)
    names = [report.name for report in reports]
    if names[0] == names[1]:  # two trainings of one name
        names = [f"{report.name} {report.inputs[1].fingerprint[:6]}" for report in reports]
    metrics: dict[str, Any] = {
        "comparison": {
            "models": names,
            "reports": [report.uri for report in reports],
            **asdict(comparison),
        },
        "far_target": config.far_target,
        "pairs": len(table),
        "pairs_skipped": len(table) - len(pairs),
    }
    files = {
        "comparison.json": to_json(metrics),
        "report.html": _page(plan, metrics, first, second).encode(),
    }
    parts = []
    for name, content in files.items():
        storage.write_bytes(storage.join(plan.uri, name), content)
        parts.append(storage.describe_file(plan.uri, name))
    counts = {"pairs": metrics["pairs"], "pairs_skipped": metrics["pairs_skipped"]}
    return Outcome(tuple(parts), counts, {"metrics": metrics})


def finish(plan: Plan, outcome: Outcome, run: Mapping[str, Any]) -> Manifest:
    """Publish the comparison; its manifest has the metrics too."""
    return storage.publish(plan, outcome, run)


def _verification(
    report: Artifact, pairs: pa.Table, config: ValidateConfig
) -> tuple[Verification, np.ndarray]:
    """What the report's embeddings give on the pairs, and who is on the image of each row."""
    table = parquet.read_table(report.file_uri("embeddings.parquet"))
    row_of = {image_id: row for row, image_id in enumerate(table["image_id"].to_pylist())}
    a, b = (
        np.array([row_of[image_id] for image_id in pairs[name].to_pylist()])
        for name in ("image_id_a", "image_id_b")
    )
    lists = table["embedding"].combine_chunks()
    verification = verify(
        lists.flatten().to_numpy().reshape(len(table), -1),
        IndexedPairs(a, b, pairs["same"].to_numpy(), pairs["fold"].to_numpy()),
        distance_metric=config.distance_metric,
        subtract_mean=config.subtract_mean,
        far_target=config.far_target,
    )
    return verification, np.array(table["identity"].to_pylist(), object)


def _page(plan: Plan, metrics: Mapping[str, Any], first: Verification, second: Verification) -> str:
    """Both curves, the differences, and whether they are luck, as HTML; every name is escaped."""
    from facenet_core.evaluation.report import page, plots

    names = metrics["comparison"]["models"]
    curves = list(zip(names, (first.roc, second.roc), strict=True))
    plot = plots.roc_plot(curves, int((~first.pairs.same).sum()), metrics["far_target"])
    return page.template("comparison.html.j2").render(
        plan=plan,
        metrics=metrics,
        names=names,
        titles=_TITLES,
        roc=page.svg(plot, "ROC curves"),
        made_by=storage.made_by(),
    )
