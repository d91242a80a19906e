"""The figures of davidsandberg/facenet, its formulas written down from their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from facenet_core.evaluation.protocol.verification import IndexedPairs, verify

ACCURACY_GRID = np.arange(0, 4, 0.01)
VAL_GRID = np.arange(0, 4, 0.001)


def pair_distances(first, second, metric):
    if metric == "euclidean":
        return np.sum(np.square(first - second), axis=1)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.arccos(np.clip(np.sum(first * second, axis=1) / norms, -1, 1)) / np.pi


def accuracy(threshold, distances, same):
    return np.mean(np.less(distances, threshold) == same)


def rates(threshold, distances, same):
    accepted = np.less(distances, threshold)
    return np.mean(accepted[same]), np.mean(accepted[~same])


def val_threshold(distances, same, far_target):
    """Linear between the last threshold with a rate of at most the target and the next."""
    far = np.mean(np.less(distances[~same], VAL_GRID[:, None]), axis=1)
    if far.max() < far_target:
        return 0.0
    last = np.flatnonzero(far <= far_target)[-1]
    if last == len(far) - 1:
        return VAL_GRID[-1]
    share = (far_target - far[last]) / (far[last + 1] - far[last])
    return VAL_GRID[last] + share * (VAL_GRID[last + 1] - VAL_GRID[last])


def evaluate(first, second, same, nrof_folds, metric, subtract_mean, far_target):
    """Folds by position; accuracy, VAL and FAR of each, and the mean ROC on the grid."""
    accuracies, vals, fars, curves = [], [], [], []
    places = np.arange(len(same))
    for test in np.array_split(places, nrof_folds):
        train = np.setdiff1d(places, test)
        mean = np.concatenate([first[train], second[train]]).mean(axis=0) if subtract_mean else 0.0
        distances = pair_distances(first - mean, second - mean, metric)
        on_train = [accuracy(t, distances[train], same[train]) for t in ACCURACY_GRID]
        best = ACCURACY_GRID[np.argmax(on_train)]
        accuracies.append(accuracy(best, distances[test], same[test]))
        curves.append([rates(t, distances[test], same[test]) for t in ACCURACY_GRID])
        threshold = val_threshold(distances[train], same[train], far_target)
        val, far = rates(threshold, distances[test], same[test])
        vals.append(val)
        fars.append(far)
    tpr, fpr = np.mean(curves, axis=0).T
    return accuracies, vals, fars, tpr, fpr


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    nrof_folds=st.integers(2, 5),
    metric=st.sampled_from(["euclidean", "cosine"]),
    subtract_mean=st.booleans(),
    far_target=st.sampled_from([1e-3, 0.05, 0.2]),
)
def test_the_figures_are_the_originals(seed, nrof_folds, metric, subtract_mean, far_target):
    rng = np.random.default_rng(seed)
    same = np.tile(np.repeat([True, False], 6), nrof_folds)
    first = rng.normal(size=(len(same), 5)) + 0.3
    second = np.where(same[:, None], first, 0) + rng.normal(size=first.shape)
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    expected = evaluate(first, second, same, nrof_folds, metric, subtract_mean, far_target)
    accuracies, vals, fars, tpr, fpr = expected
    verification = verify(
        np.concatenate([first, second]),
        IndexedPairs(
            np.arange(len(same)),
            np.arange(len(same)) + len(same),
            same,
            np.repeat(np.arange(nrof_folds), 12),
        ),
        distance_metric=metric,
        subtract_mean=subtract_mean,
        far_target=far_target,
    )
    assert verification.accuracy == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert verification.accuracy_std == pytest.approx(np.std(accuracies), abs=1e-12)
    assert verification.val_rate == pytest.approx(np.mean(vals), abs=1e-12)
    assert verification.val_rate_std == pytest.approx(np.std(vals), abs=1e-12)
    assert verification.far == pytest.approx(np.mean(fars), abs=1e-12)
    assert verification.auc_grid == pytest.approx(np.trapezoid(tpr, fpr), abs=1e-12)
    # Where the curve goes straight up any rate in between would do; brentq finds where it jumps.
    eer = brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1)
    assert verification.eer_grid == pytest.approx(eer, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_within_a_fold_and_turning_the_embeddings_change_nothing(seed):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(40, 4))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    a, b = rng.permutation(40)[:20], rng.integers(0, 40, 20)
    same, fold = np.arange(20) % 2 == 0, np.repeat([0, 1], 10)
    plain = verify(embeddings, IndexedPairs(a, b, same, fold))
    shuffle = rng.permutation(20)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    for other in (
        verify(embeddings, IndexedPairs(*(each[shuffle] for each in (a, b, same, fold)))),
        verify(embeddings @ turn, IndexedPairs(a, b, same, fold)),
        verify(embeddings, IndexedPairs(b, a, same, fold)),
    ):
        assert other.accuracy == pytest.approx(plain.accuracy)
        assert other.auc == pytest.approx(plain.auc)
        assert other.eer == pytest.approx(plain.eer)
        assert other.val_rate == pytest.approx(plain.val_rate)
