"""The figures of `metrics.json`, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from facenet_core.config import ValidateConfig
from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.evaluation.embeddings import Embeddings
from facenet_core.evaluation.evaluated_pairs import Trial
from facenet_core.evaluation.protocol import bootstrap
from facenet_core.evaluation.protocol.bootstrap import Sampling
from facenet_core.evaluation.protocol.groups import Attributes, by_group
from facenet_core.evaluation.protocol.identification import Identification, identify
from facenet_core.evaluation.protocol.quality import by_quality
from facenet_core.evaluation.protocol.verification import Verification

RANKS = (1, 5, 10)


def describe(verification: Verification, trial: Trial, config: ValidateConfig) -> dict[str, Any]:
    """The figures of the protocol; a rate without any pair to take it from is None.

    `pairs` counts all, `pairs_skipped` those among them that were left out, and `accuracy_all` is
    the mean accuracy of the folds with these counted as decided wrongly. `rates` has a row for each
    false accept rate that the pairs can support.
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
        "best_threshold": verification.best_threshold,
        "best_accuracy": verification.best_accuracy,
        "distance_metric": config.distance_metric,
        "subtract_mean": config.subtract_mean,
        "use_flipped_images": config.use_flipped_images,
        "pairs": len(trial.pairs),
        "pairs_skipped": int(trial.missing.sum()),
        "pairs_centre_cropped": int(trial.touching(trial.centre_cropped).sum()),
        "images_centre_cropped": len(trial.centre_cropped),
        "folding": trial.pairs.folding,
        "rates": [_plain(asdict(rate)) for rate in verification.rates],
        "folds": [_plain(asdict(fold)) for fold in verification.folds],
    }


def confidence(
    verification: Verification,
    same: np.ndarray,
    fold: np.ndarray,
    sampling: Sampling,
    config: ValidateConfig,
) -> dict[str, Any]:
    """95 % intervals [low, high] of the main figures, None where there is none."""
    found: dict[str, tuple[float, float] | None] = dict.fromkeys(bootstrap.FIGURES)
    if config.bootstrap_replicates:
        found = bootstrap.intervals(
            bootstrap.replicates(
                verification,
                same,
                fold,
                sampling,
                far_target=config.far_target,
                count=config.bootstrap_replicates,
            )
        )
        if not bootstrap.supports_val(same, config.far_target):
            found["val_rate"] = None
    return {
        **{f"{name}_interval": list(ends) if ends else None for name, ends in found.items()},
        "interval_unit": sampling.unit,
        "bootstrap_replicates": config.bootstrap_replicates,
    }


def count_people(embeddings: Embeddings, labels: Sequence[str]) -> dict[str, int]:
    """How many people were embedded, and how many of them are among the model's labels."""
    people = {*embeddings.identities} - {""}
    return {"people": len(people), "people_in_training": len(people & {*labels})}


def find_people(embeddings: Embeddings, config: ValidateConfig) -> Identification | None:
    """Identification on all that was embedded; None where it is not wanted or not possible."""
    if not config.identification:
        return None
    return identify(
        embeddings.vectors,
        np.array(embeddings.identities, object),
        distance_metric=config.distance_metric,
        subtract_mean=config.subtract_mean,
    )


def describe_identification(found: Identification | None) -> dict[str, Any]:
    """The object `identification`, or nothing."""
    if found is None:
        return {}
    return {
        "identification": {
            "gallery": found.gallery,
            "probes": found.probes,
            **{f"rank_{k}": found.rank(k) for k in RANKS},
            "cmc": found.cmc.tolist(),
            "open_set": [asdict(rate) for rate in found.open_set],
        }
    }


def describe_groups(
    attributes: Attributes | None,
    verification: Verification,
    embeddings: Embeddings,
    a: np.ndarray,
    b: np.ndarray,
    same: np.ndarray,
    fold: np.ndarray,
) -> dict[str, Any]:
    """The list `groups`, a row for each group, and how many images have no value; or nothing."""
    if attributes is None:
        return {}
    accepted = verification.accepted(fold)
    accepted_at_val = verification.accepted(fold, at_val=True)
    rows, unknown = [], {}
    for name in attributes.values:
        group_of = attributes.of(name, embeddings.image_ids, embeddings.identities)
        unknown[name] = int((group_of == "").sum())
        rows += by_group(
            name, group_of[a], group_of[b], same, verification.distances, accepted, accepted_at_val
        )
    return {"groups": [asdict(row) for row in rows], "groups_unknown": unknown}


def describe_quality(
    verification: Verification,
    embeddings: Embeddings,
    a: np.ndarray,
    b: np.ndarray,
    same: np.ndarray,
    fold: np.ndarray,
) -> dict[str, Any]:
    """The object `quality`: errors by the detector's score and by the size of the face."""
    accepted = verification.accepted(fold)
    measures = {"score": embeddings.scores, "face_size": embeddings.sizes}
    return {
        "quality": {
            name: [
                asdict(part)
                for part in by_quality(np.minimum(values[a], values[b]), same, accepted)
            ]
            for name, values in measures.items()
        }
    }


def _accuracy_of_all(verification: Verification, pairs: Pairs) -> float:
    sizes = np.bincount(pairs.fold)
    right = np.zeros(len(sizes))
    for fold in verification.folds:
        right[fold.fold] = fold.accuracy * fold.pairs
    return float(np.mean(right / sizes))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """With None for numbers that JSON has no word for."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
