"""Validate: a model on pairs of the crops becomes a report.

plan = plan_validate(root, crops_uri, model_uri, config)  # and embeddings, if there are some
outcome = validate(plan, config)
finish(plan, outcome, run)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.config import GENERATED_PAIRS, ValidateConfig
from facenet_core.datasets.pairs import files as pairs_files
from facenet_core.embedding import artifact as embedding
from facenet_core.errors import PairsError
from facenet_core.evaluation.center_crops import centre_crops
from facenet_core.evaluation.embeddings import (
    Embeddings,
    embed_crops,
    joined,
    read_embeddings,
)
from facenet_core.evaluation.evaluated_pairs import (
    EvaluatedPairs,
    choose_pairs,
    faces,
    resolve_auto,
)
from facenet_core.evaluation.protocol import groups
from facenet_core.evaluation.protocol.verification import check_folds, verify
from facenet_core.evaluation.report.metrics import Evaluation, measure
from facenet_core.housekeeping.promotion import gate_result
from facenet_core.models.face_model import FaceModel
from facenet_core.models.runtimes import Runtime, open_runtime
from facenet_core.storage import Artifact, Manifest, Outcome, Plan, parquet, schemas

logger = logging.getLogger(__name__)

STAGE_FORMAT = 2

# Decoding these again could end as it did when they were aligned.
_NEVER_CROPPED = ("crashed", "undecodable", "unsupported_format", "too_large")


def plan_validate(
    root: str,
    crops_uri: str,
    model_uri: str,
    config: ValidateConfig,
    embeddings: Artifact | None = None,
) -> Plan:
    """Plan the report of a model on the crops of a data set.

    Args:
        embeddings: of these crops by this model, which then embeds nothing again.

    Raises:
        ArtifactError: either is not a finished artifact of its stage.
        ConfigError: the embeddings are of another model, or lack those of mirrored images.
        PairsError: the pairs file or that of the groups is missing or malformed.
    """
    crops = storage.open_artifact(crops_uri, "align")
    model = storage.open_artifact(model_uri, "train")
    inputs = [crops.as_input(), model.as_input()]
    if embeddings is not None:
        own = embedding.model_of(embeddings).fingerprint
        embedding.require_model(embeddings.uri, own, model.fingerprint)
        if config.use_flipped_images:
            embedding.require_flipped(embeddings)
        inputs.append(embeddings.as_input())
    name = config.name or model.name
    resolved = {**config.determining(), "name": name}
    pairs = resolve_auto(crops, config)
    resolved["pairs"] = pairs
    if pairs != GENERATED_PAIRS:
        named = pairs_files.read(pairs, config.lfw_nrof_folds)
        resolved["pairs"] = pairs_files.content_of(pairs)
        resolved["lfw_nrof_folds"] = named.nrof_folds
        # They only say how pairs are drawn.
        del resolved["pairs_per_fold"], resolved["pairs_seed"]
        drawn = dict.fromkeys(("pairs_per_fold", "pairs_seed"), "the pairs are not drawn")
        config.warn_of_unused(drawn)
        if config.lfw_nrof_folds != named.nrof_folds:
            config.warn_of_unused({"lfw_nrof_folds": f"the pairs have {named.nrof_folds} folds"})
    if config.groups is not None:
        groups.read_attributes(config.groups)
        resolved["groups"] = f"sha256:{storage.sha256(config.groups)}"
    return storage.plan_stage(root, "validate", name, resolved, inputs, STAGE_FORMAT)


def check_pairs(crops_uri: str, config: ValidateConfig) -> None:
    """Check that these crops have the pairs, before a model is trained for hours.

    Raises:
        ArtifactError: `crops_uri` is not a finished artifact of crops.
        PairsError: the pairs are malformed, do not fit the data, or are too few.
    """
    pairs = choose_pairs(storage.open_artifact(crops_uri, "align"), config)
    if config.missing != "centre-crop":
        check_folds(pairs.same, pairs.fold)
    if config.groups is not None:
        groups.read_attributes(config.groups)


def validate(
    plan: Plan, config: ValidateConfig, *, progress: Callable[[int, int], None] | None = None
) -> Outcome:
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
    from facenet_core.evaluation.report import page

    crops = storage.open_artifact(plan.inputs[0].uri, "align")
    model = storage.open_artifact(plan.inputs[1].uri, "train")
    made = [storage.open_artifact(entry.uri, "embed") for entry in plan.inputs[2:]]
    attributes = groups.read_attributes(config.groups) if config.groups else None
    pairs = choose_pairs(crops, config)
    _require_unchanged(plan, crops, config)
    pairs, embeddings, runtime = _embed(crops, model, made, pairs, config, progress)
    verification = verify(
        embeddings.vectors,
        pairs.indexed(embeddings),
        distance_metric=config.distance_metric,
        subtract_mean=config.subtract_mean,
        far_target=config.far_target,
    )
    evaluation = Evaluation(crops, model, pairs, embeddings, verification)
    metrics = measure(evaluation, config, attributes)
    if config.identification and "identification" not in metrics:
        logger.warning("identification: nobody can be found, as no person has two images")
    if attributes is not None and not metrics["groups"]:
        logger.warning(
            "groups: no pair lies within a group of %s; its column %s must hold those of the crops",
            config.groups,
            attributes.key,
        )
    files = {"metrics.json": to_json(metrics)}
    files |= page.files(plan, config, evaluation, metrics)
    outcome = _write(plan, files, evaluation, metrics)
    if runtime is None:
        return outcome
    ran_on = {"engine": runtime.engine, "precision": runtime.precision}
    return replace(outcome, details={**outcome.details, "runtime": ran_on})


def _require_unchanged(plan: Plan, crops: Artifact, config: ValidateConfig) -> None:
    pairs = resolve_auto(crops, config)
    if pairs != GENERATED_PAIRS and pairs_files.content_of(pairs) != plan.config["pairs"]:
        raise PairsError(f"{pairs}: changed since this run began; start the stage again")
    if config.groups and f"sha256:{storage.sha256(config.groups)}" != plan.config["groups"]:
        raise PairsError(f"{config.groups}: changed since this run began; start the stage again")


def _embed(
    crops: Artifact,
    model: Artifact,
    made: Sequence[Artifact],
    pairs: EvaluatedPairs,
    config: ValidateConfig,
    progress: Callable[[int, int], None] | None,
) -> tuple[EvaluatedPairs, Embeddings, Runtime | None]:
    """Embed what the pairs need, or everything.

    Args:
        made: the artifact of embeddings, if there is one.

    Returns:
        The pairs, which say which got a centre crop; the embeddings; what embedded, if it had to.
    """
    image_ids = pairs.image_ids()
    if config.identification:
        image_ids |= {image_id for image_id, _ in faces(crops)}
    middles: set[str] = set()
    if config.missing == "centre-crop":
        # Both images of a pair, also the one with a crop whose partner has none.
        sides = {*pairs.pairs.image_id_a, *pairs.pairs.image_id_b}
        image_ids |= sides - pairs.reasons.keys()
        middles = {
            image_id
            for image_id, reason in pairs.reasons.items()
            if not reason.startswith(_NEVER_CROPPED)
        }
    else:
        check_folds(pairs.same, pairs.fold)
    if made and not middles:
        return pairs, read_embeddings(made[0], crops, image_ids, config), None
    runtime = open_runtime(FaceModel.from_artifact(model), config.engine, None, config.precision)
    others = centre_crops(crops, middles) if middles else ()
    here = () if made else image_ids
    embeddings = embed_crops(crops, here, runtime, config, others=others, progress=progress)
    if made:
        embeddings = joined(read_embeddings(made[0], crops, image_ids, config), embeddings)
    if middles:
        pairs = pairs.with_centre_crops(middles & {*embeddings.image_ids})
    return pairs, embeddings, runtime


def finish(plan: Plan, outcome: Outcome, run: Mapping[str, Any]) -> Manifest:
    """Publish the report; its manifest has the metrics too, and whether the model may be used."""
    accuracy = outcome.details["metrics"]["accuracy"]
    result = gate_result(accuracy, plan.config["min_accuracy"])
    outcome = replace(outcome, details={**outcome.details, **asdict(result)})
    return storage.publish(plan, outcome, run)


def _write(
    plan: Plan, files: Mapping[str, bytes], evaluation: Evaluation, metrics: Mapping[str, Any]
) -> Outcome:
    finished = storage.finished(plan)  # by a run beside this one: a report stays as it is
    if finished is not None:
        return Outcome(finished.parts, finished.counts, {"metrics": metrics})
    parts = []
    for name, content in files.items():
        storage.write_bytes(storage.join(plan.uri, name), content)
        parts.append(storage.describe_file(plan.uri, name))
    tables = {
        "pairs.parquet": _pairs_table(evaluation),
        "embeddings.parquet": evaluation.embeddings.table(),
    }
    for name, table in tables.items():
        parquet.write_table(storage.join(plan.uri, name), table, plan.fingerprint)
        parts.append(storage.describe_file(plan.uri, name, rows=table.num_rows))
    counts = {
        "pairs": metrics["pairs"],
        "pairs_skipped": metrics["pairs_skipped"],
        "images": len(evaluation.embeddings.image_ids),
    }
    return Outcome(tuple(parts), counts, {"metrics": metrics})


def _pairs_table(evaluation: Evaluation) -> pa.Table:
    evaluated, pairs = evaluation.pairs, evaluation.pairs.pairs
    distances = np.zeros(len(pairs), np.float32)
    distances[evaluated.evaluated] = evaluation.verification.distances
    columns = [
        pairs.fold,
        pa.array(pairs.image_id_a, pa.string()),
        pa.array(pairs.image_id_b, pa.string()),
        pairs.same,
        pa.array(distances, mask=evaluated.missing),
    ]
    return pa.table(columns, schema=schemas.PAIRS)


def to_json(value: Mapping[str, Any]) -> bytes:
    """The content of a JSON file; NaN and infinity are refused."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
