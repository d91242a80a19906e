"""Validate: a model on pairs of the crops becomes a report.

plan = plan_validate(root, crops_uri, model_uri, config)
validated = validate(plan, config)
finish(plan, validated, run)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from facenet_core import records, storage
from facenet_core.config import GENERATED_PAIRS, ValidateConfig
from facenet_core.datasets import pairs as pairs_files
from facenet_core.datasets.pairs import Pairs
from facenet_core.errors import PairsError
from facenet_core.evaluation.embeddings import Embeddings, embed_crops
from facenet_core.evaluation.trial import Trial, choose_pairs
from facenet_core.evaluation.verification import Verification, check_folds, verify
from facenet_core.models.embedder import Embedder
from facenet_core.storage import Input, Manifest, Part, Plan

STAGE_FORMAT = 1


@dataclass(frozen=True)
class Validated:
    """What `validate` wrote, and its figures."""

    parts: tuple[Part, ...]
    counts: Mapping[str, int]
    metrics: Mapping[str, Any]


def plan_validate(root: str, crops_uri: str, model_uri: str, config: ValidateConfig) -> Plan:
    """Where the report of a model on the crops of a data set belongs.

    Raises:
        ArtifactError: either is not a finished artifact of its stage.
        PairsError: the pairs file is missing or malformed.
    """
    crops = storage.open_artifact(crops_uri, "align")
    model = storage.open_artifact(model_uri, "train")
    inputs = (Input(crops_uri, crops.fingerprint), Input(model_uri, model.fingerprint))
    name = config.name or model.name
    resolved = {**config.determining(), "name": name}
    if config.pairs != GENERATED_PAIRS:
        named = pairs_files.read(config.pairs, config.lfw_nrof_folds)
        resolved["pairs"] = _content_of(config.pairs)
        resolved["lfw_nrof_folds"] = named.nrof_folds
        # They only say how pairs are drawn.
        del resolved["pairs_per_fold"], resolved["pairs_seed"]
    return storage.plan_stage(root, "validate", name, resolved, inputs, STAGE_FORMAT)


def check_pairs(crops_uri: str, config: ValidateConfig) -> None:
    """See that the pairs can be had from these crops, before a model is trained for hours.

    Raises:
        ArtifactError: `crops_uri` is not a finished artifact of crops.
        PairsError: the pairs are malformed, do not fit the data, or are too few.
    """
    crops = storage.open_artifact(crops_uri, "align")
    trial = choose_pairs(crops_uri, crops, config)
    check_folds(trial.pairs.same[trial.evaluated], trial.pairs.fold[trial.evaluated])


def validate(
    plan: Plan, config: ValidateConfig, *, progress: Callable[[int, int], None] | None = None
) -> Validated:
    """Evaluate the model and write metrics, pairs, embeddings, plots and the report.

    Args:
        plan: from `plan_validate` with the same configuration.
        config: what to do.
        progress: called with the images embedded and their number.

    Raises:
        PairsError: the pairs do not fit the data, or the file changed since it was planned.
        ArtifactError: crops or model are damaged or do not fit together.
    """
    # Only now: plotting takes a second to load.
    from facenet_core.evaluation import report

    crops_uri, model_uri = (given.uri for given in plan.inputs)
    crops = storage.open_artifact(crops_uri, "align")
    trial = choose_pairs(crops_uri, crops, config)
    if config.pairs != GENERATED_PAIRS and _content_of(config.pairs) != plan.config["pairs"]:
        raise PairsError(f"{config.pairs}: changed since this run began; start the stage again")
    chosen = trial.evaluated
    same, fold = trial.pairs.same[chosen], trial.pairs.fold[chosen]
    check_folds(same, fold)
    ids_a, ids_b = trial.pairs.image_id_a[chosen], trial.pairs.image_id_b[chosen]
    embeddings = embed_crops(
        crops_uri,
        crops,
        [*ids_a, *ids_b],
        Embedder.load(model_uri),
        batch_size=config.lfw_batch_size,
        use_flipped_images=config.use_flipped_images,
        progress=progress,
    )
    row_of = {image_id: row for row, image_id in enumerate(embeddings.image_ids)}
    verification = verify(
        embeddings.vectors,
        np.array([row_of[image_id] for image_id in ids_a]),
        np.array([row_of[image_id] for image_id in ids_b]),
        same,
        fold,
        distance_metric=config.distance_metric,
        subtract_mean=config.subtract_mean,
        far_target=config.far_target,
    )
    model = storage.open_artifact(model_uri, "train")
    metrics = {
        **describe(verification, trial, config),
        **count_people(embeddings, model.details.get("labels", ())),
    }
    files = {"metrics.json": _json(metrics)}
    files |= report.files(plan, config, metrics, verification, trial, embeddings)
    return _write(plan, files, metrics, verification, trial, embeddings)


def finish(plan: Plan, validated: Validated, run: Mapping[str, Any]) -> Manifest:
    """Publish the report; its manifest carries the metrics too."""
    details = {"metrics": validated.metrics}
    return storage.publish(plan, validated.parts, validated.counts, run, details)


def _content_of(pairs: str) -> str:
    return f"sha256:{storage.sha256(pairs)}"


def describe(verification: Verification, trial: Trial, config: ValidateConfig) -> dict[str, Any]:
    """The figures of `metrics.json`; a rate without any pair to take it from is None.

    `pairs` counts all, `pairs_skipped` those among them that were left out, and `accuracy_all` is
    the mean accuracy of the folds with these counted as decided wrongly.
    """
    return {
        "accuracy": verification.accuracy,
        "accuracy_std": verification.accuracy_std,
        "accuracy_all": _accuracy_of_all(verification, trial.pairs),
        "val_rate": verification.val_rate,
        "val_rate_std": verification.val_rate_std,
        "far": verification.far,
        "far_target": config.far_target,
        "auc": verification.auc,
        "eer": verification.eer,
        "auc_grid": verification.auc_grid,
        "eer_grid": verification.eer_grid,
        "threshold": verification.threshold,
        "distance_metric": config.distance_metric,
        "subtract_mean": config.subtract_mean,
        "use_flipped_images": config.use_flipped_images,
        "pairs": len(trial.pairs),
        "pairs_skipped": int(trial.missing.sum()),
        "folds": [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in asdict(fold).items()
            }
            for fold in verification.folds
        ],
    }


def count_people(embeddings: Embeddings, labels: Sequence[str]) -> dict[str, int]:
    """How many people were evaluated, and how many of them are among the model's labels."""
    people = {*embeddings.identities}
    return {"people": len(people), "people_in_training": len(people & {*labels})}


def _accuracy_of_all(verification: Verification, pairs: Pairs) -> float:
    sizes = np.bincount(pairs.fold)
    right = np.zeros(len(sizes))
    for fold in verification.folds:
        right[fold.fold] = fold.accuracy * fold.pairs
    return float(np.mean(right / sizes))


def _write(
    plan: Plan,
    files: Mapping[str, bytes],
    metrics: Mapping[str, Any],
    verification: Verification,
    trial: Trial,
    embeddings: Embeddings,
) -> Validated:
    finished = storage.finished(plan)  # by a run beside this one: a report stays as it is
    if finished is not None:
        return Validated(finished.parts, finished.counts, metrics)
    parts = []
    for name, content in files.items():
        storage.write_bytes(storage.join(plan.uri, name), content)
        parts.append(storage.describe_file(plan.uri, name))
    tables = {
        "pairs.parquet": _pairs_table(trial, verification),
        "embeddings.parquet": embeddings.table(),
    }
    for name, table in tables.items():
        records.write_table(storage.join(plan.uri, name), table, plan.fingerprint)
        parts.append(storage.describe_file(plan.uri, name, rows=table.num_rows))
    counts = {
        "pairs": metrics["pairs"],
        "pairs_skipped": metrics["pairs_skipped"],
        "images": len(embeddings.image_ids),
    }
    return Validated(tuple(parts), counts, metrics)


def _pairs_table(trial: Trial, verification: Verification) -> pa.Table:
    distances = np.zeros(len(trial.pairs), np.float32)
    distances[trial.evaluated] = verification.distances
    pairs = trial.pairs
    columns = [
        pairs.fold,
        pa.array(pairs.image_id_a, pa.string()),
        pa.array(pairs.image_id_b, pa.string()),
        pairs.same,
        pa.array(distances, mask=trial.missing),
    ]
    return pa.table(columns, schema=records.PAIRS)


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
