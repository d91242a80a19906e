"""Face verification by the LFW protocol: are two images of one person?

The definitions are those of LFW (Huang et al. 2007) and of FaceNet (Schroff et al. 2015), with the
choices of davidsandberg/facenet, so that the same embeddings give the same figures: squared
Euclidean distances, a grid of thresholds, and for each fold the threshold that does best on all
others. Unlike there, folds are given by number and stay as they are when pairs are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from facenet_core.errors import ArtifactError, PairsError

Metric = Literal["euclidean", "cosine"]

ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)
VAL_THRESHOLDS = np.arange(0, 4, 0.001)
_BLOCK = 8192


@dataclass(frozen=True)
class Fold:
    """One test fold. `val_rate` or `far` is NaN where it has no pairs of one or of two people.

    Attributes:
        fold: its number.
        pairs: how many it has.
        accuracy: share of them that `threshold` decides rightly.
        threshold: of the best accuracy on the other folds; a smaller distance is a match.
        val_threshold: of the wanted false accept rate on the other folds.
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
class Roc:
    """An ROC curve: false and true accept rate, float64 [k], from (0, 0) to (1, 1)."""

    far: np.ndarray
    tar: np.ndarray


@dataclass(frozen=True)
class Verification:
    """What the protocol says of embeddings on pairs; means and deviations are over the folds.

    Attributes:
        distances: float64 [n]; where the mean is subtracted, that of the pair's own test fold.
        threshold: mean of the folds' thresholds.
        auc: area under the exact ROC curve of all distances.
        eer: equal error rate on that curve.
        auc_grid: area under the folds' mean ROC on `ACCURACY_THRESHOLDS`, as the original has it.
        eer_grid: equal error rate on that curve.
        roc: the exact curve.
    """

    accuracy: float
    accuracy_std: float
    val_rate: float
    val_rate_std: float
    far: float
    threshold: float
    auc: float
    eer: float
    auc_grid: float
    eer_grid: float
    folds: tuple[Fold, ...]
    distances: np.ndarray
    roc: Roc


def verify(
    embeddings: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    same: np.ndarray,
    fold: np.ndarray,
    *,
    distance_metric: Metric = "euclidean",
    subtract_mean: bool = False,
    far_target: float = 1e-3,
) -> Verification:
    """Evaluate embeddings on pairs.

    Args:
        embeddings: float [m, d], one row an image.
        a: int [n], row of each pair's first image.
        b: int [n], row of its second.
        same: bool [n], whether both are of one person.
        fold: int [n], the fold that tests the pair.
        distance_metric: `euclidean` (squared) or `cosine` (angle/π).
        subtract_mean: first subtract the mean embedding of the other folds' pairs.
        far_target: false accept rate at which VAL is taken.

    Raises:
        PairsError: fewer than two folds hold pairs of one person, or of two.
        ArtifactError: an embedding is not finite.
    """
    check_folds(same, fold)
    _check_finite(embeddings)
    numbers = np.unique(fold)
    distances = np.empty(len(fold))
    folds, tpr, fpr = [], [], []
    everywhere = None if subtract_mean else pair_distances(embeddings, a, b, distance_metric)
    for number in numbers:
        test = fold == number
        if everywhere is None:
            mean = _mean_embedding(embeddings, a[~test], b[~test])
            found = pair_distances(embeddings, a, b, distance_metric, mean)
        else:
            found = everywhere
        distances[test] = found[test]
        training = _Distances.of(found[~test], same[~test])
        tested = _Distances.of(found[test], same[test])
        folds.append(_test_fold(int(number), training, tested, far_target))
        rates = tested.rates(ACCURACY_THRESHOLDS)
        tpr.append(rates[0])
        fpr.append(rates[1])
    grid = Roc(far=np.nanmean(fpr, axis=0), tar=np.nanmean(tpr, axis=0))
    exact = roc(distances, same)
    accuracies = [each.accuracy for each in folds]
    val_rates = [each.val_rate for each in folds]
    return Verification(
        accuracy=float(np.mean(accuracies)),
        accuracy_std=float(np.std(accuracies)),
        val_rate=float(np.nanmean(val_rates)),
        val_rate_std=float(np.nanstd(val_rates)),
        far=float(np.nanmean([each.far for each in folds])),
        threshold=float(np.mean([each.threshold for each in folds])),
        auc=area_under(exact),
        eer=equal_error_rate(exact),
        auc_grid=area_under(grid),
        eer_grid=equal_error_rate(grid),
        folds=tuple(folds),
        distances=distances,
        roc=exact,
    )


def distance(a: np.ndarray, b: np.ndarray, metric: Metric) -> np.ndarray:
    """Distances of rows: squared Euclidean, or angle/π in [0, 1].

    A vector of length zero has no direction: it is at 1/2, a right angle, from everything.

    Args:
        a: float64 [n, d].
        b: float64 [n, d].

    Returns:
        float64 [n].
    """
    if metric == "euclidean":
        return np.sum(np.square(a - b), axis=1)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    product = np.sum(a * b, axis=1)
    similarity = np.divide(product, norm, out=np.zeros_like(norm), where=norm > 0)
    # Rounding takes the similarity of equal vectors past 1, where the arc cosine is NaN.
    return np.arccos(np.clip(similarity, -1, 1)) / np.pi


def pair_distances(
    embeddings: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    metric: Metric,
    mean: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Distances float64 [n] of the pairs of rows `a`, `b`, after subtracting `mean` from all."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(a), _BLOCK)]
    return np.concatenate(
        [
            distance(
                embeddings[a[block]].astype(np.float64) - mean,
                embeddings[b[block]].astype(np.float64) - mean,
                metric,
            )
            for block in blocks
        ]
    )


def roc(distances: np.ndarray, same: np.ndarray) -> Roc:
    """The exact ROC curve: one point for every distance that occurs."""
    from sklearn.metrics import roc_curve

    far, tar, _ = roc_curve(same, -distances, drop_intermediate=False)
    return Roc(far, tar)


def area_under(curve: Roc) -> float:
    """Area under a curve, by trapezoids."""
    return float(np.trapezoid(curve.tar, curve.far))


def equal_error_rate(curve: Roc) -> float:
    """The false accept rate at which as many pairs are falsely rejected, between two points."""
    far, tar = np.append(curve.far, 1.0), np.append(curve.tar, 1.0)
    excess = far + tar - 1
    after = int(np.argmax(excess >= 0))
    if after == 0:
        return float(far[0])
    step = -excess[after - 1] / (excess[after] - excess[after - 1])
    return float(far[after - 1] + step * (far[after] - far[after - 1]))


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
    val_threshold = far_threshold(training.rates(VAL_THRESHOLDS)[1], far_target)
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


def far_threshold(far: np.ndarray, far_target: float) -> float:
    """The threshold of a false accept rate, between two of `VAL_THRESHOLDS`.

    Linear between the last threshold whose rate does not exceed the target and the next: what the
    original's interpolation gave before SciPy refused curves with flat stretches.

    Args:
        far: float [4000], false accept rate at each of `VAL_THRESHOLDS`, never falling.
        far_target: the rate wanted.

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


def _mean_embedding(embeddings: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean over all sides of the pairs: an image counts as often as it occurs."""
    times = np.bincount(np.concatenate([a, b]), minlength=len(embeddings)).astype(np.float64)
    return times @ embeddings / times.sum()


def check_folds(same: np.ndarray, fold: np.ndarray) -> None:
    """See that thresholds can be chosen on some folds and tested on another.

    Raises:
        PairsError: fewer than two folds hold pairs of one person, or of two.
    """
    for kind, chosen in (("one person", same), ("two people", ~same)):
        folds = len(np.unique(fold[chosen]))
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
