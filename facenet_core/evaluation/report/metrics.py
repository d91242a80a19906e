"""The metrics of `metrics.json`, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core.config import ValidateConfig
from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.evaluation.embeddings import Embeddings
from facenet_core.evaluation.evaluated_pairs import EvaluatedPairs
from facenet_core.evaluation.protocol import bootstrap
from facenet_core.evaluation.protocol.bootstrap import Sampling
from facenet_core.evaluation.protocol.groups import Attributes, Decisions, by_group
from facenet_core.evaluation.protocol.identification import Identification, identify
from facenet_core.evaluation.protocol.verification import Verification
from facenet_core.storage import Artifact, trained_people

RANKS = (1, 5, 10)
_QUALITY_BINS = 4


@dataclass(frozen=True)
class Evaluation:
    """A model on the pairs of some crops: all that metrics and report are made from."""

    crops: Artifact
    model: Artifact
    pairs: EvaluatedPairs
    embeddings: Embeddings
    verification: Verification

    def sampling(self) -> Sampling:
        """What the bootstrap draws."""
        pairs = self.verification.pairs
        identities = np.array(self.embeddings.identities, object)
        return Sampling.of(identities[pairs.a], identities[pairs.b], pairs.same)


@dataclass(frozen=True)
class QualityBin:
    """Pairs whose worse image lies between two values of a measure; rates None without pairs."""

    low: float
    high: float
    pairs: int
    accuracy: float
    fmr: float | None
    fnmr: float | None


def measure(
    evaluation: Evaluation, config: ValidateConfig, attributes: Attributes | None
) -> dict[str, Any]:
    """All of `metrics.json`; `attributes` are those to group images by, if any."""
    return {
        **describe(evaluation, config),
        **confidence(evaluation, config),
        **count_people(evaluation),
        **describe_identification(find_people(evaluation.embeddings, config)),
        **describe_groups(evaluation, attributes),
        **describe_quality(evaluation),
    }


def describe(evaluation: Evaluation, config: ValidateConfig) -> dict[str, Any]:
    """The metrics of the protocol; a rate without any pair to take it from is None.

    `pairs` counts all, `pairs_skipped` those among them that were left out, and `accuracy_all` is
    the mean accuracy of the folds with these counted as decided wrongly. `rates` has a row for each
    false accept rate that the pairs can support.
    """
    verification, evaluated = evaluation.verification, evaluation.pairs
    return {
        "accuracy": verification.accuracy,
        "accuracy_std": verification.accuracy_std,
        "accuracy_all": _accuracy_of_all(verification, evaluated.pairs),
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
        "pairs": len(evaluated.pairs),
        "pairs_skipped": int(evaluated.missing.sum()),
        "pairs_centre_cropped": int(evaluated.touching(evaluated.centre_cropped).sum()),
        "images_centre_cropped": len(evaluated.centre_cropped),
        "folding": evaluated.pairs.folding,
        "rates": [_plain(asdict(rate)) for rate in verification.rates],
        "folds": [_plain(asdict(fold)) for fold in verification.folds],
    }


def confidence(evaluation: Evaluation, config: ValidateConfig) -> dict[str, Any]:
    """95 % intervals [low, high] of the main metrics, None where there is none."""
    verification, sampling = evaluation.verification, evaluation.sampling()
    intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(bootstrap.METRICS)
    if config.bootstrap_replicates:
        count = config.bootstrap_replicates
        intervals = bootstrap.intervals(bootstrap.replicates(verification, sampling, count=count))
        if not bootstrap.supports_val(verification.pairs.same, verification.far_target):
            intervals["val_rate"] = None
    return {
        **{f"{name}_interval": list(ends) if ends else None for name, ends in intervals.items()},
        "interval_unit": sampling.unit,
        "bootstrap_replicates": config.bootstrap_replicates,
    }


def count_people(evaluation: Evaluation) -> dict[str, int]:
    """How many people were embedded, and how many of them are among the model's labels."""
    people = sorted({*evaluation.embeddings.identities} - {""})
    trained_on = trained_people.read(evaluation.model)
    in_training = 0
    if trained_on is not None:
        is_among_them = pc.is_in(pa.array(people, pa.string()), trained_on)
        in_training = int(np.count_nonzero(is_among_them))
    return {"people": len(people), "people_in_training": in_training}


def find_people(embeddings: Embeddings, config: ValidateConfig) -> Identification | None:
    """Identification on all that was embedded; None where it is not asked for or not possible."""
    if not config.identification:
        return None
    return identify(
        embeddings.vectors,
        np.array(embeddings.identities, object),
        distance_metric=config.distance_metric,
        subtract_mean=config.subtract_mean,
    )


def describe_identification(identification: Identification | None) -> dict[str, Any]:
    """The object `identification`, or nothing."""
    if identification is None:
        return {}
    return {
        "identification": {
            "gallery": identification.gallery,
            "probes": identification.probes,
            **{f"rank_{k}": identification.rank(k) for k in RANKS},
            "cmc": identification.cmc.tolist(),
            "open_set": [asdict(rate) for rate in identification.open_set],
        }
    }


def describe_groups(evaluation: Evaluation, attributes: Attributes | None) -> dict[str, Any]:
    """The list `groups`, a row for each group, and how many images have no value; or nothing."""
    if attributes is None:
        return {}
    embeddings, pairs = evaluation.embeddings, evaluation.verification.pairs
    decisions = Decisions.of(evaluation.verification)
    rows, unknown = [], {}
    for name in attributes.values:
        group_of = attributes.of(name, embeddings.image_ids, embeddings.identities)
        unknown[name] = int((group_of == "").sum())
        rows += by_group(name, group_of[pairs.a], group_of[pairs.b], decisions)
    return {"groups": [asdict(row) for row in rows], "groups_unknown": unknown}


def describe_quality(evaluation: Evaluation) -> dict[str, Any]:
    """The object `quality`: errors by the detector's score and by the size of the face."""
    embeddings, pairs = evaluation.embeddings, evaluation.verification.pairs
    accepted = evaluation.verification.accepted()
    quality = {}
    for name, values in {"score": embeddings.scores, "face_size": embeddings.sizes}.items():
        worse = np.minimum(values[pairs.a], values[pairs.b])
        quality[name] = [asdict(part) for part in by_quality(worse, pairs.same, accepted)]
    return {"quality": quality}


def by_quality(worse: np.ndarray, same: np.ndarray, accepted: np.ndarray) -> list[QualityBin]:
    """Errors in up to four equal parts of the pairs, from the worst to the best.

    Args:
        worse: float [n], the measure of each pair's worse image; NaN where it was not measured.
        same: bool [n], whether both are of one person.
        accepted: bool [n], taken for one person.

    Returns:
        Parts; equal values stay together, so there can be fewer. none where nothing was measured.
    """
    measured = np.flatnonzero(np.isfinite(worse))
    if not len(measured):
        return []
    edges = np.quantile(worse[measured], np.linspace(0, 1, _QUALITY_BINS + 1)[1:-1])
    part = np.searchsorted(np.unique(edges), worse[measured], side="left")
    bins = []
    for number in np.unique(part):
        rows = measured[part == number]
        one, two = rows[same[rows]], rows[~same[rows]]
        bins.append(
            QualityBin(
                float(worse[rows].min()),
                float(worse[rows].max()),
                len(rows),
                float((accepted[rows] == same[rows]).mean()),
                float(accepted[two].mean()) if len(two) else None,
                float((~accepted[one]).mean()) if len(one) else None,
            )
        )
    return bins


def _accuracy_of_all(verification: Verification, pairs: Pairs) -> float:
    sizes = np.bincount(pairs.fold)
    right = np.zeros(len(sizes))
    for fold in verification.folds:
        right[fold.fold] = fold.accuracy * fold.pairs
    return float(np.mean(right / sizes))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """With None for numbers that JSON cannot express."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
