"""Face verification by the LFW protocol: are two images of one person?

The definitions are those of LFW (Huang et al. 2007) and of FaceNet (Schroff et al. 2015), with the
choices of davidsandberg/facenet, so that the same embeddings give the same metrics: squared
Euclidean distances, a grid of thresholds, and for each fold the threshold that does best on all
others. Unlike there, folds are given by number and stay as they are when pairs are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facenet_core.errors import ArtifactError, PairsError
from facenet_core.evaluation.protocol.curves import Roc, area_under, equal_error_rate, roc, tar_at
from facenet_core.evaluation.protocol.distances import (
    DistanceMetric,
    mean_embedding,
    pair_distances,
)

ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)
VAL_THRESHOLDS = np.arange(0, 4, 0.001)
FAR_TARGETS = (1e-1, 1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class IndexedPairs:
    """Pairs of images, by the rows of their embeddings.

    Attributes:
        a: int [n], row of each pair's first image.
        b: int [n], row of its second.
        same: bool [n], whether both are of one person.
        fold: int [n], the fold that tests the pair.
    """

    a: np.ndarray
    b: np.ndarray
    same: np.ndarray
    fold: np.ndarray


@dataclass(frozen=True)
class Fold:
    """One test fold. `val_rate` or `far` is NaN where it has no pairs of one or of two people.

    Attributes:
        fold: its number.
        pairs: how many it has.
        accuracy: share of them that `threshold` decides rightly.
        threshold: of the best accuracy on the other folds; a smaller distance is a match.
        val_threshold: of the false accept rate of VAL on the other folds.
        val_rate: share of the pairs of one person below `val_threshold`.
        far: share of the pairs of two people below `val_threshold`.
    """

    fold: int
    pairs: int
    accuracy: float
    threshold: float
    val_threshold: float
    val_rate: float
    far: float


@dataclass(frozen=True)
class Rate:
    """True accept rates at a false accept rate that the number of pairs can support.

    Attributes:
        far_target: the false accept rate.
        val_rate, val_rate_std: VAL, by thresholds from the other folds.
        far: mean false accept rate that these thresholds gave.
        tar, threshold: on the exact ROC curve, where the rate is `far_target` or just below.
    """

    far_target: float
    val_rate: float
    val_rate_std: float
    far: float
    tar: float
    threshold: float


@dataclass(frozen=True)
class Verification:
    """What the protocol says of embeddings on pairs; means and deviations are over the folds.

    Attributes:
        pairs: the n pairs.
        far_target: false accept rate at which VAL was taken.
        distances: float64 [n]; where the mean is subtracted, that of the pair's own test fold.
        distances_by_fold: float64 [f, n], as each test fold's mean leaves them; [1, n] where no
            mean is subtracted.
        threshold: mean of the folds' thresholds.
        best_threshold: of `ACCURACY_THRESHOLDS`, the most accurate on all pairs together.
        best_accuracy: the accuracy there; higher than `accuracy`, as it has seen the answers.
        rates: for those of `FAR_TARGETS` that one pair of two people or more stands for.
        auc: area under the exact ROC curve of all distances.
        eer: equal error rate on that curve.
        auc_grid: area under the folds' mean ROC on `ACCURACY_THRESHOLDS`, as the original has it.
        eer_grid: equal error rate on that curve.
        roc: the exact curve.
    """

    pairs: IndexedPairs
    far_target: float
    accuracy: float
    accuracy_std: float
    val_rate: float
    val_rate_std: float
    far: float
    threshold: float
    best_threshold: float
    best_accuracy: float
    auc: float
    eer: float
    auc_grid: float
    eer_grid: float
    rates: tuple[Rate, ...]
    folds: tuple[Fold, ...]
    distances: np.ndarray
    distances_by_fold: np.ndarray
    roc: Roc

    def accepted(self, *, at_val: bool = False) -> np.ndarray:
        """Bool [n]: the pairs that the threshold of their fold takes for one person.

        Args:
            at_val: by the folds' `val_threshold`.
        """
        threshold_of = {f.fold: f.val_threshold if at_val else f.threshold for f in self.folds}
        numbers, index = np.unique(self.pairs.fold, return_inverse=True)
        return self.distances < np.array([threshold_of[int(n)] for n in numbers])[index]

    def correct(self) -> np.ndarray:
        """Bool [n]: the pairs that the threshold of their fold decides rightly."""
        return self.accepted() == self.pairs.same


def verify(
    embeddings: np.ndarray,
    pairs: IndexedPairs,
    *,
    distance_metric: DistanceMetric = "euclidean",
    subtract_mean: bool = False,
    far_target: float = 1e-3,
) -> Verification:
    """Evaluate embeddings on pairs.

    Args:
        embeddings: float [m, d], one row an image.
        pairs: n pairs of these rows.
        distance_metric: `euclidean` (squared) or `cosine` (angle/π).
        subtract_mean: first subtract the mean embedding of the other folds' pairs.
        far_target: false accept rate at which VAL is taken.

    Raises:
        PairsError: fewer than two folds hold pairs of one person, or of two.
        ArtifactError: an embedding is not finite.
    """
    same, fold = pairs.same, pairs.fold
    check_folds(same, fold)
    _check_finite(embeddings)
    by_fold = _distances_by_fold(embeddings, pairs, distance_metric, subtract_mean)
    distances = np.empty(len(fold))
    targets = [t for t in FAR_TARGETS if t * (~same).sum() >= 1]
    folds, rates, tpr, fpr = [], [], [], []
    for index, number in enumerate(np.unique(fold)):
        test = fold == number
        of_fold = by_fold[index if subtract_mean else 0]
        distances[test] = of_fold[test]
        training = _Distances.of(of_fold[~test], same[~test])
        tested = _Distances.of(of_fold[test], same[test])
        folds.append(_test_fold(int(number), training, tested, far_target))
        rates.append([tested.rates(_val_threshold(training, t)) for t in targets])
        true_rate, false_rate = tested.rates(ACCURACY_THRESHOLDS)
        tpr.append(true_rate)
        fpr.append(false_rate)
    grid = Roc(np.nanmean(fpr, axis=0), np.nanmean(tpr, axis=0), ACCURACY_THRESHOLDS)
    exact = roc(distances, same)
    everywhere = _Distances.of(distances, same).accuracy(ACCURACY_THRESHOLDS)
    accuracies = [each.accuracy for each in folds]
    val_rates = [each.val_rate for each in folds]
    return Verification(
        pairs=pairs,
        far_target=far_target,
        accuracy=float(np.mean(accuracies)),
        accuracy_std=float(np.std(accuracies)),
        val_rate=float(np.nanmean(val_rates)),
        val_rate_std=float(np.nanstd(val_rates)),
        far=float(np.nanmean([each.far for each in folds])),
        threshold=float(np.mean([each.threshold for each in folds])),
        best_threshold=float(ACCURACY_THRESHOLDS[np.argmax(everywhere)]),
        best_accuracy=float(everywhere.max()),
        auc=area_under(exact),
        eer=equal_error_rate(exact),
        auc_grid=area_under(grid),
        eer_grid=equal_error_rate(grid),
        rates=tuple(
            Rate(
                target,
                float(np.nanmean([fold_rates[index][0] for fold_rates in rates])),
                float(np.nanstd([fold_rates[index][0] for fold_rates in rates])),
                float(np.nanmean([fold_rates[index][1] for fold_rates in rates])),
                *tar_at(exact, target),
            )
            for index, target in enumerate(targets)
        ),
        folds=tuple(folds),
        distances=distances,
        distances_by_fold=by_fold,
        roc=exact,
    )


def _distances_by_fold(
    embeddings: np.ndarray, pairs: IndexedPairs, metric: DistanceMetric, subtract_mean: bool
) -> np.ndarray:
    a, b = pairs.a, pairs.b
    if not subtract_mean:
        return pair_distances(embeddings, a, b, metric)[None]
    rows = []
    for number in np.unique(pairs.fold):
        training = pairs.fold != number
        mean = mean_embedding(embeddings, a[training], b[training])
        rows.append(pair_distances(embeddings, a, b, metric, mean))
    return np.stack(rows)


@dataclass(frozen=True)
class _Distances:
    """Sorted distances of some folds, to count those below thresholds without a loop."""

    same: np.ndarray
    different: np.ndarray

    @classmethod
    def of(cls, distances: np.ndarray, same: np.ndarray) -> _Distances:
        return cls(np.sort(distances[same]), np.sort(distances[~same]))

    def rates(self, thresholds: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """True and false accept rate at each threshold; NaN where there are no such pairs."""
        return _share(self.same, thresholds), _share(self.different, thresholds)

    def accuracy(self, thresholds: np.ndarray | float) -> np.ndarray:
        accepted = np.searchsorted(self.same, thresholds, side="left")
        falsely = np.searchsorted(self.different, thresholds, side="left")
        right = accepted + len(self.different) - falsely
        return right / (len(self.same) + len(self.different))


def _share(ordered: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    accepted = np.searchsorted(ordered, thresholds, side="left")
    return accepted / len(ordered) if len(ordered) else np.full(np.shape(thresholds), np.nan)


def _test_fold(number: int, training: _Distances, tested: _Distances, far_target: float) -> Fold:
    best = int(np.argmax(training.accuracy(ACCURACY_THRESHOLDS)))
    threshold = float(ACCURACY_THRESHOLDS[best])
    val_threshold = _val_threshold(training, far_target)
    val_rate, far = tested.rates(val_threshold)
    return Fold(
        fold=number,
        pairs=len(tested.same) + len(tested.different),
        accuracy=float(tested.accuracy(threshold)),
        threshold=threshold,
        val_threshold=val_threshold,
        val_rate=float(val_rate),
        far=float(far),
    )


def _val_threshold(training: _Distances, far_target: float) -> float:
    return far_threshold(training.rates(VAL_THRESHOLDS)[1], far_target)


def far_threshold(far: np.ndarray, far_target: float) -> float:
    """The threshold of a false accept rate, between two of `VAL_THRESHOLDS`.

    Linear between the last threshold whose rate does not exceed the target and the next: what the
    original's interpolation gave before SciPy refused curves with flat stretches.

    Args:
        far: float [4000], false accept rate at each of `VAL_THRESHOLDS`, never falling.
        far_target: the rate to reach.

    Returns:
        The threshold; 0, which accepts nothing, where the rate is never reached.
    """
    if far[-1] < far_target:
        return 0.0
    after = int(np.searchsorted(far, far_target, side="right"))
    if after == len(far):
        return float(VAL_THRESHOLDS[-1])
    low, high = far[after - 1], far[after]
    step = (far_target - low) / (high - low)
    return float(
        VAL_THRESHOLDS[after - 1] + step * (VAL_THRESHOLDS[after] - VAL_THRESHOLDS[after - 1])
    )


def check_folds(same: np.ndarray, fold: np.ndarray) -> None:
    """Check that thresholds can be chosen on some folds and tested on another.

    Raises:
        PairsError: fewer than two folds hold pairs of one person, or of two.
    """
    for kind, mask in (("one person", same), ("two people", ~same)):
        folds = len(np.unique(fold[mask]))
        if folds < 2:
            raise PairsError(
                f"pairs of {kind} are in {folds} of {len(np.unique(fold))} folds, at least two are "
                "needed: thresholds are chosen on one and tested on another. Use more pairs, or "
                "see why so many images gave no crop"
            )


def _check_finite(embeddings: np.ndarray) -> None:
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(broken):
        raise ArtifactError(
            f"{len(broken)} of {len(embeddings)} embeddings are not finite, the first in row "
            f"{broken[0]}: the model's training diverged; train again with a lower learning rate"
        )
