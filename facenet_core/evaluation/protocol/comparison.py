"""Two models on the same pairs: is one better, or was it luck?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facenet_core.evaluation.protocol.bootstrap import (
    FIGURES,
    Sampling,
    interval,
    replicates,
    supports_val,
)
from facenet_core.evaluation.protocol.verification import Verification


@dataclass(frozen=True)
class Difference:
    """A figure of both models, and that of the second less that of the first.

    Attributes:
        low, high: 95 % bootstrap interval of the difference; None where there is none.
        p_value: two-sided, of no difference: twice the share of replicates on the other side of
            zero. Never below 2 / (replicates + 1).
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None


@dataclass(frozen=True)
class Comparison:
    """What tells two models apart.

    Attributes:
        figures: by name, each of `bootstrap.FIGURES`.
        only_first: pairs that only the first model decides rightly, by the thresholds of its folds.
        only_second: pairs that only the second decides rightly.
        both, neither: the others.
        mcnemar_p: exact two-sided McNemar test (McNemar 1947) on the first two: the binomial
            chance of a split as uneven, were the models equal. It takes pairs for independent.
        unit: what the bootstrap drew, `identity` or `pair`.
    """

    figures: dict[str, Difference]
    only_first: int
    only_second: int
    both: int
    neither: int
    mcnemar_p: float
    unit: str


def compare(
    first: Verification,
    second: Verification,
    same: np.ndarray,
    fold: np.ndarray,
    sampling: Sampling,
    *,
    far_target: float,
    count: int,
) -> Comparison:
    """Compare two models by a paired bootstrap and McNemar's test.

    Args:
        first, second: both of the same pairs in the same order.
        same: bool [n], as given to `verify`.
        fold: int [n], as given to `verify`.
        sampling: what the bootstrap draws.
        far_target: false accept rate of VAL.
        count: bootstrap replicates; both models get the same ones.
    """
    right_a, right_b = (each.accepted(fold) == same for each in (first, second))
    only_first, only_second = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    drawn_a, drawn_b = (
        replicates(each, same, fold, sampling, far_target=far_target, count=count)
        if count
        else {name: np.empty(0) for name in FIGURES}
        for each in (first, second)
    )
    if not supports_val(same, far_target):
        drawn_a["val_rate"] = np.full(count, np.nan)
    return Comparison(
        figures={
            name: _difference(
                getattr(first, name), getattr(second, name), drawn_b[name] - drawn_a[name]
            )
            for name in FIGURES
        },
        only_first=only_first,
        only_second=only_second,
        both=int((right_a & right_b).sum()),
        neither=int((~right_a & ~right_b).sum()),
        mcnemar_p=mcnemar(only_first, only_second),
        unit=sampling.unit,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test; 1 where the models never disagree."""
    from scipy.stats import binomtest

    disagreements = only_first + only_second
    return float(binomtest(only_first, disagreements).pvalue) if disagreements else 1.0


def _difference(first: float, second: float, drawn: np.ndarray) -> Difference:
    finite = drawn[np.isfinite(drawn)]
    found = interval(drawn)
    if found is None:
        return Difference(first, second, second - first, None, None, None)
    # Replicates of exactly zero speak for neither side.
    below = (finite < 0).sum() + 0.5 * (finite == 0).sum()
    smaller = min(below, len(finite) - below)
    p_value = min(1.0, 2 * (smaller + 1) / (len(finite) + 1))
    return Difference(first, second, second - first, *found, float(p_value))
