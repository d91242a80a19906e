"""ROC curves of distances, and the metrics that are read from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Roc:
    """An ROC curve: false and true accept rate, float64 [k], from (0, 0) to (1, 1).

    `threshold`, float64 [k], is the largest distance that is accepted at each point.
    """

    far: np.ndarray
    tar: np.ndarray
    threshold: np.ndarray


def roc(distances: np.ndarray, same: np.ndarray) -> Roc:
    """The exact ROC curve: one point for every distance that occurs."""
    from sklearn.metrics import roc_curve

    far, tar, scores = roc_curve(same, -distances, drop_intermediate=False)
    return Roc(far, tar, -scores)


def tar_at(curve: Roc, far_target: float) -> tuple[float, float]:
    """True accept rate and threshold at the last point whose false accept rate is no higher."""
    point = int(np.searchsorted(curve.far, far_target, side="right")) - 1
    return float(curve.tar[point]), float(curve.threshold[point])


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
