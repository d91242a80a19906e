"""Bootstrap intervals: how far the metrics of a verification could be from their true values.

People are drawn with replacement, not pairs, since pairs that share a person err together. A
person drawn c times gives each pair of theirs the weight c, and a pair of two people weighs the
product of both (Owen and Eckles 2012, "Bootstrapping data arrays of arbitrary order", who show
that this errs on the side of width). Metrics are computed from weights, never from copies: all
replicates of one block at a time are rows of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from facenet_core.evaluation.protocol.verification import (
    ACCURACY_THRESHOLDS,
    VAL_THRESHOLDS,
    Verification,
)

Unit = Literal["identity", "pair"]

LEVEL = 0.95
METRICS = ("accuracy", "val_rate", "auc", "eer")
_BLOCK_CELLS = 2**22
_FALSE_ACCEPTS = 10


@dataclass(frozen=True)
class Sampling:
    """What is drawn with replacement.

    Attributes:
        unit: people, or pairs where people are not known.
        person_a: int [n], number of the person of each pair's first image (or of the pair).
        person_b: int [n], of its second; equal to `person_a` for pairs of one person.
    """

    unit: Unit
    person_a: np.ndarray
    person_b: np.ndarray

    @classmethod
    def of(cls, identity_a: np.ndarray, identity_b: np.ndarray, same: np.ndarray) -> Sampling:
        """By identity, unless one is unknown (empty) or contradicts what a pair says.

        Args:
            identity_a: str objects [n], who is on each pair's first image.
            identity_b: str objects [n], who is on its second.
            same: bool [n], whether both are of one person.
        """
        complete = all(identity_a) and all(identity_b)
        if not complete or np.any((identity_a == identity_b) != same):
            pairs = np.arange(len(same))
            return cls("pair", pairs, pairs)
        _, numbers = np.unique(np.concatenate([identity_a, identity_b]), return_inverse=True)
        return cls("identity", numbers[: len(same)], numbers[len(same) :])

    def weights(self, replicates: int, seed: int) -> Iterator[np.ndarray]:
        """Blocks float32 [k, n] of the pairs' weights, `replicates` rows in all.

        A replicate depends on nothing but the seed and its number in the block's size.
        """
        people = int(max(self.person_a.max(), self.person_b.max())) + 1
        size = max(1, min(100, _BLOCK_CELLS // max(len(self.person_a), people)))
        rng = np.random.default_rng(seed)
        chances = np.full(people, 1 / people)
        for start in range(0, replicates, size):
            times = rng.multinomial(people, chances, min(size, replicates - start))
            times = times.astype(np.float32)
            one_person = self.person_a == self.person_b
            yield times[:, self.person_a] * np.where(one_person, 1, times[:, self.person_b])


def replicate(verification: Verification, weights: np.ndarray) -> dict[str, np.ndarray]:
    """`METRICS` of weighted pairs, the thresholds chosen anew.

    Args:
        verification: of the pairs without weights.
        weights: float [k, n], one row a replicate.

    Returns:
        float64 [k] each; NaN where a replicate has no pairs of one kind.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy, val_rate = _protocol(verification, weights)
        auc, eer = _exact(verification.distances, verification.pairs.same, weights)
    return {"accuracy": accuracy, "val_rate": val_rate, "auc": auc, "eer": eer}


def replicates(
    verification: Verification, sampling: Sampling, *, count: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """`METRICS` of `count` bootstrap replicates, float64 [count] each; see `replicate`.

    The same sampling and seed draw the same people for every verification, so that replicates of
    two models can be compared one by one.
    """
    blocks = [replicate(verification, weights) for weights in sampling.weights(count, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in METRICS}


def supports_val(same: np.ndarray, far_target: float) -> bool:
    """Whether VAL can have an interval: its false accept rate stands for ten pairs or more.

    Fewer are gone from many replicates, whose thresholds then say nothing of the pairs'.
    """
    return bool(far_target * (~same).sum() >= _FALSE_ACCEPTS)


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of replicates; None where fewer than half of them have a value."""
    finite = values[np.isfinite(values)]
    if len(finite) < max(2, len(values) / 2):
        return None
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def intervals(replicated: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float] | None]:
    """`interval` of each metric."""
    return {name: interval(values) for name, values in replicated.items()}


def _protocol(verification: Verification, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean accuracy and mean VAL over the folds, float64 [k]."""
    same, fold = verification.pairs.same, verification.pairs.fold
    accuracies, rates = [], []
    grids = (ACCURACY_THRESHOLDS, VAL_THRESHOLDS)
    by_fold = verification.distances_by_fold
    for index, number in enumerate(np.unique(fold)):
        test = fold == number
        distances = by_fold[index if len(by_fold) > 1 else 0]
        if index == 0 or len(by_fold) > 1:
            whole = [_Counts.of(distances, same, weights, grid) for grid in grids]
        tested = [_Counts.of(distances[test], same[test], weights[:, test], grid) for grid in grids]
        training = [all_.minus(some) for all_, some in zip(whole, tested, strict=True)]
        best = np.argmax(training[0].accuracy(), axis=1)
        accuracies.append(np.take_along_axis(tested[0].accuracy(), best[:, None], axis=1)[:, 0])
        thresholds = _far_thresholds(training[1].far(), verification.far_target)
        match = (distances[test] < thresholds[:, None]) & same[test]
        rates.append((weights[:, test] * match).sum(axis=1) / tested[0].of_one)
    return _finite_mean(np.stack(accuracies)), _finite_mean(np.stack(rates))


def _finite_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the folds, float64 [k] of [f, k], that have a value; NaN where none has."""
    finite = np.isfinite(values)
    return np.where(finite, values, 0).sum(axis=0) / finite.sum(axis=0)


@dataclass(frozen=True)
class _Counts:
    """Weights below each of t thresholds, float64 [k, t], and of all pairs, [k]."""

    same: np.ndarray
    different: np.ndarray
    of_one: np.ndarray
    of_two: np.ndarray

    @classmethod
    def of(
        cls, distances: np.ndarray, same: np.ndarray, weights: np.ndarray, thresholds: np.ndarray
    ) -> _Counts:
        below, total = {}, {}
        for kind in (True, False):
            mask = same == kind
            # A pair counts from the first threshold that is above its distance.
            bins = np.searchsorted(thresholds, distances[mask], side="right")
            shape = (len(bins), len(thresholds) + 1)
            cells = (np.ones(len(bins), np.float32), (np.arange(len(bins)), bins))
            histogram = weights[:, mask] @ sparse.csr_matrix(cells, shape=shape)
            below[kind] = np.cumsum(histogram, axis=1, dtype=np.float64)[:, :-1]
            total[kind] = weights[:, mask].sum(axis=1, dtype=np.float64)
        return cls(below[True], below[False], total[True], total[False])

    def minus(self, other: _Counts) -> _Counts:
        return _Counts(
            self.same - other.same,
            self.different - other.different,
            self.of_one - other.of_one,
            self.of_two - other.of_two,
        )

    def accuracy(self) -> np.ndarray:
        right = self.same + self.of_two[:, None] - self.different
        return right / (self.of_one + self.of_two)[:, None]

    def far(self) -> np.ndarray:
        return self.different / self.of_two[:, None]


def _far_thresholds(far: np.ndarray, far_target: float) -> np.ndarray:
    """`verification.far_threshold` of each row of `far`, float64 [k, t]."""
    after = (far <= far_target).sum(axis=1)
    low = np.maximum(after - 1, 0)
    high = np.minimum(after, far.shape[1] - 1)
    rows = np.arange(len(far))
    rise = far[rows, high] - far[rows, low]
    step = np.where(rise > 0, (far_target - far[rows, low]) / rise, 0)
    thresholds = VAL_THRESHOLDS[low] + step * (VAL_THRESHOLDS[high] - VAL_THRESHOLDS[low])
    return np.where(far[:, -1] < far_target, 0.0, thresholds)


def _exact(
    distances: np.ndarray, same: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUC and EER of the exact curve, float64 [k]."""
    order = np.argsort(distances, kind="stable")
    # Equal distances are one point of the curve.
    ends = np.append(np.flatnonzero(np.diff(distances[order])), len(order) - 1)
    ordered = weights[:, order]
    true = np.cumsum(ordered * same[order], axis=1, dtype=np.float64)[:, ends]
    false = np.cumsum(ordered * ~same[order], axis=1, dtype=np.float64)[:, ends]
    tar = np.pad(true / true[:, -1:], ((0, 0), (1, 0)))
    far = np.pad(false / false[:, -1:], ((0, 0), (1, 0)))
    auc = np.sum(np.diff(far, axis=1) * (tar[:, 1:] + tar[:, :-1]), axis=1) / 2
    excess = far + tar - 1
    after = np.argmax(excess >= 0, axis=1)
    rows, before = np.arange(len(far)), np.maximum(after - 1, 0)
    rise = excess[rows, after] - excess[rows, before]
    step = np.where(rise > 0, -excess[rows, before] / rise, 0)
    eer = far[rows, before] + step * (far[rows, after] - far[rows, before])
    return auc, np.where(np.isfinite(auc), eer, np.nan)
