"""Validate: a model on pairs of the crops becomes a report.

plan = plan_validate(root, crops_uri, model_uri, config)
outcome = validate(plan, config)
finish(plan, outcome, run)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.config import GENERATED_PAIRS, ValidateConfig
from facenet_core.datasets.pairs import files as pairs_files
from facenet_core.errors import PairsError
from facenet_core.evaluation.center_crops import centre_crops
from facenet_core.evaluation.embeddings import Embeddings, embed_crops
from facenet_core.evaluation.evaluated_pairs import Trial, choose_pairs, faces, pairs_of
from facenet_core.evaluation.protocol import groups
from facenet_core.evaluation.protocol.bootstrap import Sampling
from facenet_core.evaluation.protocol.verification import Verification, check_folds, verify
from facenet_core.evaluation.report import metrics
from facenet_core.housekeeping.promotion import judge
from facenet_core.models.face_model import Embedder
from facenet_core.storage import Input, Manifest, Outcome, Plan, parquet

logger = logging.getLogger(__name__)

STAGE_FORMAT = 2

# Decoding these again could end as it did when they were aligned.
_NEVER_CROPPED = ("crashed", "undecodable", "unsupported_format", "too_large")


def plan_validate(root: str, crops_uri: str, model_uri: str, config: ValidateConfig) -> Plan:
    """Where the report of a model on the crops of a data set belongs.

    Raises:
        ArtifactError: either is not a finished artifact of its stage.
        PairsError: the pairs file or that of the groups is missing or malformed.
    """
    crops = storage.open_artifact(crops_uri, "align")
    model = storage.open_artifact(model_uri, "train")
    inputs = (Input(crops_uri, crops.fingerprint), Input(model_uri, model.fingerprint))
    name = config.name or model.name
    resolved = {**config.determining(), "name": name}
    pairs = pairs_of(crops_uri, crops, config)
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
    """See that the pairs can be had from these crops, before a model is trained for hours.

    Raises:
        ArtifactError: `crops_uri` is not a finished artifact of crops.
        PairsError: the pairs are malformed, do not fit the data, or are too few.
    """
    crops = storage.open_artifact(crops_uri, "align")
    trial = choose_pairs(crops_uri, crops, config)
    if config.missing != "centre-crop":
        check_folds(trial.pairs.same[trial.evaluated], trial.pairs.fold[trial.evaluated])
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

    crops_uri, model_uri = (given.uri for given in plan.inputs)
    crops = storage.open_artifact(crops_uri, "align")
    attributes = groups.read_attributes(config.groups) if config.groups else None
    trial = choose_pairs(crops_uri, crops, config)
    _require_unchanged(plan, crops_uri, crops, config)
    trial, embeddings = _embed(crops_uri, crops, trial, model_uri, config, progress)
    chosen = trial.evaluated
    same, fold = trial.pairs.same[chosen], trial.pairs.fold[chosen]
    a = embeddings.rows(trial.pairs.image_id_a[chosen])
    b = embeddings.rows(trial.pairs.image_id_b[chosen])
    verification = verify(
        embeddings.vectors,
        a,
        b,
        same,
        fold,
        distance_metric=config.distance_metric,
        subtract_mean=config.subtract_mean,
        far_target=config.far_target,
    )
    identities = np.array(embeddings.identities, object)
    sampling = Sampling.of(identities[a], identities[b], same)
    identification = metrics.find_people(embeddings, config)
    if config.identification and identification is None:
        logger.warning("identification: nobody can be found, as no person has two images")
    model = storage.open_artifact(model_uri, "train")
    figures = {
        **metrics.describe(verification, trial, config),
        **metrics.confidence(verification, same, fold, sampling, config),
        **metrics.count_people(embeddings, model.details.get("labels", ())),
        **metrics.describe_identification(identification),
        **metrics.describe_groups(attributes, verification, embeddings, a, b, same, fold),
        **metrics.describe_quality(verification, embeddings, a, b, same, fold),
    }
    if attributes is not None and not figures["groups"]:
        logger.warning(
            "groups: no pair lies within a group of %s; its column %s must hold those of the crops",
            config.groups,
            attributes.key,
        )
    files = {"metrics.json": to_json(figures)}
    files |= page.files(plan, config, figures, verification, trial, embeddings)
    return _write(plan, files, figures, verification, trial, embeddings)


def _require_unchanged(plan: Plan, crops_uri: str, crops: Manifest, config: ValidateConfig) -> None:
    pairs = pairs_of(crops_uri, crops, config)
    if pairs != GENERATED_PAIRS and pairs_files.content_of(pairs) != plan.config["pairs"]:
        raise PairsError(f"{pairs}: changed since this run began; start the stage again")
    if config.groups and f"sha256:{storage.sha256(config.groups)}" != plan.config["groups"]:
        raise PairsError(f"{config.groups}: changed since this run began; start the stage again")


def _embed(
    crops_uri: str,
    crops: Manifest,
    trial: Trial,
    model_uri: str,
    config: ValidateConfig,
    progress: Callable[[int, int], None] | None,
) -> tuple[Trial, Embeddings]:
    """Embed what the pairs need, or everything; the trial says which middles were taken."""
    chosen = trial.evaluated
    wanted = {*trial.pairs.image_id_a[chosen], *trial.pairs.image_id_b[chosen]}
    if config.identification:
        wanted |= {image_id for image_id, _ in faces(crops_uri, crops)}
    middles: set[str] = set()
    if config.missing == "centre-crop":
        # Both images of a pair, also the one with a crop whose partner has none.
        sides = {*trial.pairs.image_id_a, *trial.pairs.image_id_b}
        wanted |= sides - trial.reasons.keys()
        middles = {
            image_id
            for image_id, reason in trial.reasons.items()
            if not reason.startswith(_NEVER_CROPPED)
        }
    else:
        check_folds(trial.pairs.same[chosen], trial.pairs.fold[chosen])
    embeddings = embed_crops(
        crops_uri,
        crops,
        wanted,
        Embedder.load(model_uri),
        batch_size=config.lfw_batch_size,
        use_flipped_images=config.use_flipped_images,
        others=centre_crops(crops_uri, crops, middles) if middles else (),
        progress=progress,
    )
    if middles:
        trial = trial.with_centre_crops(middles & {*embeddings.image_ids})
    return trial, embeddings


def finish(plan: Plan, outcome: Outcome, run: Mapping[str, Any]) -> Manifest:
    """Publish the report; its manifest has the metrics too, and whether the model may be used."""
    accuracy = outcome.details["metrics"]["accuracy"]
    verdict = judge(accuracy, plan.config["min_accuracy"])
    outcome = replace(outcome, details={**outcome.details, **asdict(verdict)})
    return storage.publish(plan, outcome, run)


def _write(
    plan: Plan,
    files: Mapping[str, bytes],
    figures: Mapping[str, Any],
    verification: Verification,
    trial: Trial,
    embeddings: Embeddings,
) -> Outcome:
    finished = storage.finished(plan)  # by a run beside this one: a report stays as it is
    if finished is not None:
        return Outcome(finished.parts, finished.counts, {"metrics": figures})
    parts = []
    for name, content in files.items():
        storage.write_bytes(storage.join(plan.uri, name), content)
        parts.append(storage.describe_file(plan.uri, name))
    tables = {
        "pairs.parquet": _pairs_table(trial, verification),
        "embeddings.parquet": embeddings.table(),
    }
    for name, table in tables.items():
        parquet.write_table(storage.join(plan.uri, name), table, plan.fingerprint)
        parts.append(storage.describe_file(plan.uri, name, rows=table.num_rows))
    counts = {
        "pairs": figures["pairs"],
        "pairs_skipped": figures["pairs_skipped"],
        "images": len(embeddings.image_ids),
    }
    return Outcome(tuple(parts), counts, {"metrics": figures})


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
    return pa.table(columns, schema=parquet.PAIRS)


def to_json(value: Mapping[str, Any]) -> bytes:
    """As a file; NaN and infinity are refused."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
