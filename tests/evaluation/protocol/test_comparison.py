import numpy as np
import pytest

from facenet_core.evaluation.protocol import comparison
from facenet_core.evaluation.protocol.bootstrap import Sampling
from facenet_core.evaluation.protocol.comparison import compare
from facenet_core.evaluation.protocol.verification import IndexedPairs, verify
from tests.evaluation.protocol.test_bootstrap import some_pairs


def compared(noise: float, count: int = 200, pairs: int = 400):
    """A model, and the same with noise on its embeddings."""
    vectors, a, b, same, fold, *who = some_pairs(3, people=60, pairs=pairs)
    worse = vectors + noise * np.random.default_rng(0).normal(size=vectors.shape)
    first, second = (
        verify(each, IndexedPairs(a, b, same, fold), far_target=0.1) for each in (vectors, worse)
    )
    results = compare(first, second, Sampling.of(*who, same), count=count)
    return results, first, second, same


def test_a_worse_model_is_found_worse():
    results, first, second, same = compared(noise=1.0)
    auc = results.figures["auc"]
    assert (auc.first, auc.second) == (first.auc, second.auc)
    assert auc.difference == second.auc - first.auc < 0
    assert auc.low < auc.difference < auc.high < 0
    assert auc.p_value < 0.05
    assert results.mcnemar_p < 0.05
    right = [each.accepted() == same for each in (first, second)]
    assert results.only_first == (right[0] & ~right[1]).sum() > results.only_second
    assert results.both + results.neither + results.only_first + results.only_second == len(same)


def test_a_model_does_not_differ_from_itself():
    results, *_ = compared(noise=0.0)
    assert results.mcnemar_p == 1
    for figure in results.figures.values():
        assert (figure.difference, figure.low, figure.high) == (0, 0, 0)
        assert figure.p_value == 1


def test_pairing_narrows_the_interval():
    """Both models get the same replicates: what is hard for both does not count."""
    results, *_ = compared(noise=0.05)
    auc = results.figures["auc"]
    alone = compared(noise=1.0)[0].figures["auc"]
    assert auc.high - auc.low < (alone.high - alone.low) / 2


def test_without_replicates_there_are_differences_but_no_intervals():
    results, *_ = compared(noise=1.0, count=0)
    assert results.figures["eer"].difference > 0
    assert results.figures["eer"].low is results.figures["eer"].p_value is None


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1), (5, 5, 1), (0, 5, 2 / 32), (1, 7, 2 * 9 / 256), (10, 0, 2 / 1024)],
)
def test_mcnemar_is_the_binomial_test_of_the_disagreements(only_first, only_second, p):
    assert comparison.mcnemar(only_first, only_second) == pytest.approx(p)
