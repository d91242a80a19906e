"""Two models on the same pairs: is one better, or was it luck?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facenet_core.evaluation.protocol.bootstrap import (
    METRICS,
    Sampling,
    interval,
    replicates,
    supports_val,
)
from facenet_core.evaluation.protocol.verification import Verification


@dataclass(frozen=True)
class Difference:
    """A metric of both models, and that of the second less that of the first.

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
class ModelComparison:
    """How two models differ on the same pairs; the fields are the keys of `comparison.json`.

    Attributes:
        figures: by name, each of `bootstrap.METRICS`.
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
    sampling: Sampling,
    *,
    count: int,
) -> ModelComparison:
    """Compare two models by a paired bootstrap and McNemar's test.

    Args:
        first, second: both of the same pairs in the same order, with VAL at the same rate.
        sampling: what the bootstrap draws.
        count: bootstrap replicates; both models get the same ones.
    """
    right_a, right_b = first.correct(), second.correct()
    only_first, only_second = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    replicates_a, replicates_b = (
        replicates(each, sampling, count=count)
        if count
        else {name: np.empty(0) for name in METRICS}
        for each in (first, second)
    )
    if not supports_val(first.pairs.same, first.far_target):
        replicates_a["val_rate"] = np.full(count, np.nan)
    return ModelComparison(
        figures={
            name: _difference(
                getattr(first, name), getattr(second, name), replicates_b[name] - replicates_a[name]
            )
            for name in METRICS
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


def _difference(first: float, second: float, differences: np.ndarray) -> Difference:
    finite = differences[np.isfinite(differences)]
    ends = interval(differences)
    if ends is None:
        return Difference(first, second, second - first, None, None, None)
    # Replicates of exactly zero speak for neither side.
    below = (finite < 0).sum() + 0.5 * (finite == 0).sum()
    smaller = min(below, len(finite) - below)
    p_value = min(1.0, 2 * (smaller + 1) / (len(finite) + 1))
    return Difference(first, second, second - first, *ends, float(p_value))
