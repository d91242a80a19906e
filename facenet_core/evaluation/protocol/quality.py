"""Errors against the quality of photographs: the detector's score and the size of the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINS = 4


@dataclass(frozen=True)
class QualityBin:
    """Pairs whose worse image lies between two values of a measure; rates None without pairs."""

    low: float
    high: float
    pairs: int
    accuracy: float
    fmr: float | None
    fnmr: float | None


def by_quality(worse: np.ndarray, same: np.ndarray, accepted: np.ndarray) -> list[QualityBin]:
    """Errors in up to four equal parts of the pairs, from the worst to the best.

    Args:
        worse: float [n], the measure of each pair's worse image; NaN where it is not known.
        same: bool [n], whether both are of one person.
        accepted: bool [n], taken for one person.

    Returns:
        Parts; equal values stay together, so there can be fewer. None where nothing is known.
    """
    known = np.flatnonzero(np.isfinite(worse))
    if not len(known):
        return []
    edges = np.quantile(worse[known], np.linspace(0, 1, _BINS + 1)[1:-1])
    part = np.searchsorted(np.unique(edges), worse[known], side="left")
    found = []
    for number in np.unique(part):
        rows = known[part == number]
        one, two = rows[same[rows]], rows[~same[rows]]
        found.append(
            QualityBin(
                float(worse[rows].min()),
                float(worse[rows].max()),
                len(rows),
                float((accepted[rows] == same[rows]).mean()),
                float(accepted[two].mean()) if len(two) else None,
                float((~accepted[one]).mean()) if len(one) else None,
            )
        )
    return found
