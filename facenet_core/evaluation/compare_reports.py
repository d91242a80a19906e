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

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.errors import PairsError
from facenet_core.evaluation.protocol.bootstrap import Sampling
from facenet_core.evaluation.protocol.comparison import compare
from facenet_core.evaluation.protocol.verification import Verification, verify
from facenet_core.evaluation.stage import to_json
from facenet_core.storage import Input, Manifest, Outcome, Plan, parquet

STAGE_FORMAT = 1
_SCHEMA = pa.schema([field for field in parquet.PAIRS if field.name != "distance"])


def plan_compare(root: str, report_a: str, report_b: str, config: ValidateConfig) -> Plan:
    """Where the comparison of two reports belongs.

    Raises:
        ArtifactError: either is not a finished report.
    """
    first, second = (storage.open_artifact(uri, "validate") for uri in (report_a, report_b))
    inputs = (Input(report_a, first.fingerprint), Input(report_b, second.fingerprint))
    name = config.name or f"{first.name}-vs-{second.name}"[:100]
    resolved = {"comparison": True, "bootstrap_replicates": config.bootstrap_replicates}
    return storage.plan_stage(root, "validate", name, resolved, inputs, STAGE_FORMAT)


def compare_reports(plan: Plan, config: ValidateConfig) -> Outcome:
    """Compare the models of two reports and write the comparison.

    Everything is taken from the reports' pairs and embeddings.

    Raises:
        PairsError: the reports are not about the same pairs.
    """
    from facenet_core.evaluation.report import comparison_page

    uri_a, uri_b = (given.uri for given in plan.inputs)
    table = parquet.read_table(storage.join(uri_a, "pairs.parquet"))
    other = parquet.read_table(storage.join(uri_b, "pairs.parquet"))
    evaluated = table["distance"].is_valid()
    columns = [field.name for field in _SCHEMA]
    if not table.select(columns).equals(other.select(columns)) or not evaluated.equals(
        other["distance"].is_valid()
    ):
        raise PairsError(
            f"{uri_a} and {uri_b}: reports on different pairs; compare models on the same crops "
            "with the same options"
        )
    pairs = table.filter(evaluated)
    same, fold = pairs["same"].to_numpy(), pairs["fold"].to_numpy()
    ids = [np.array(pairs[name].to_pylist(), object) for name in ("image_id_a", "image_id_b")]
    first, people = _verification(uri_a, ids, same, fold, config)
    second, _ = _verification(uri_b, ids, same, fold, config)
    sampling = Sampling.of(*people, same)
    found = compare(
        first,
        second,
        same,
        fold,
        sampling,
        far_target=config.far_target,
        count=config.bootstrap_replicates,
    )
    reports = [storage.open_artifact(uri, "validate") for uri in (uri_a, uri_b)]
    names = [report.name for report in reports]
    if names[0] == names[1]:  # two trainings of one name
        names = [f"{report.name} {report.inputs[1].fingerprint[:6]}" for report in reports]
    figures: dict[str, Any] = {
        "comparison": {"models": names, "reports": [uri_a, uri_b], **asdict(found)},
        "far_target": config.far_target,
        "pairs": len(table),
        "pairs_skipped": len(table) - len(pairs),
    }
    files = {
        "comparison.json": to_json(figures),
        "report.html": comparison_page.render(plan, figures, first, second, same).encode(),
    }
    parts = []
    for name, content in files.items():
        storage.write_bytes(storage.join(plan.uri, name), content)
        parts.append(storage.describe_file(plan.uri, name))
    counts = {"pairs": figures["pairs"], "pairs_skipped": figures["pairs_skipped"]}
    return Outcome(tuple(parts), counts, {"metrics": figures})


def finish(plan: Plan, outcome: Outcome, run: Mapping[str, Any]) -> Manifest:
    """Publish the comparison; its manifest has the metrics too."""
    return storage.publish(plan, outcome, run)


def _verification(
    uri: str, ids: list[np.ndarray], same: np.ndarray, fold: np.ndarray, config: ValidateConfig
) -> tuple[Verification, list[np.ndarray]]:
    """What the report's embeddings give on the pairs, and who is on both sides of each."""
    table = parquet.read_table(storage.join(uri, "embeddings.parquet"))
    row_of = {image_id: row for row, image_id in enumerate(table["image_id"].to_pylist())}
    a, b = (np.array([row_of[image_id] for image_id in side]) for side in ids)
    lists = table["embedding"].combine_chunks()
    vectors = lists.flatten().to_numpy().reshape(len(table), -1)
    identities = np.array(table["identity"].to_pylist(), object)
    verification = verify(
        vectors,
        a,
        b,
        same,
        fold,
        distance_metric=config.distance_metric,
        subtract_mean=config.subtract_mean,
        far_target=config.far_target,
    )
    return verification, [identities[a], identities[b]]
