import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facenet_core.errors import ArtifactError, PairsError
from facenet_core.evaluation.protocol import curves, distances, verification
from facenet_core.evaluation.protocol.curves import Roc
from facenet_core.evaluation.protocol.verification import IndexedPairs, verify


def on_a_line(squared, same, fold, **options):
    """Verify pairs that have these squared Euclidean distances."""
    places = np.append(np.sqrt(squared), 0.0)[:, None]
    zero = np.full(len(squared), len(squared))
    rows = np.arange(len(squared))
    pairs = IndexedPairs(rows, zero, np.array(same, bool), np.array(fold))
    return verify(places, pairs, **options)


TWO_FOLDS = {
    "squared": [0.2057, 0.6057, 1.0057, 1.4057, 0.1057, 0.3057, 0.5057, 0.7057],
    "same": [1, 1, 0, 0, 1, 1, 0, 0],
    "fold": [0, 0, 0, 0, 1, 1, 1, 1],
}


def test_each_fold_is_judged_by_the_threshold_of_the_others():
    result = on_a_line(**TWO_FOLDS)
    first, second = result.folds
    # Fold 1 is parted by 0.31, the first of the grid above 0.3057; fold 0 by 0.61.
    assert first.threshold == pytest.approx(0.31)
    assert first.accuracy == 3 / 4
    assert second.threshold == pytest.approx(0.61)
    assert second.accuracy == 3 / 4
    assert (result.accuracy, result.accuracy_std) == (0.75, 0)
    assert result.threshold == pytest.approx(0.46)
    # On all pairs together 0.31 and 0.61 err once each; the first of them is taken.
    assert result.best_threshold == pytest.approx(0.31)
    assert result.best_accuracy == 7 / 8


def test_val_is_taken_at_the_false_accept_rate_of_the_other_folds():
    result = on_a_line(**TWO_FOLDS, far_target=0.25)
    first, second = result.folds
    # Fold 1's FAR grows from 0 at 0.505 to 1/2 at 0.506; half of that is a quarter.
    assert first.val_threshold == pytest.approx(0.5055)
    assert (first.val_rate, first.far) == (0.5, 0)
    assert second.val_threshold == pytest.approx(1.0055)
    assert (second.val_rate, second.far) == (1, 1)
    assert (result.val_rate, result.val_rate_std, result.far) == (0.75, 0.25, 0.5)


def test_rates_are_taken_where_the_pairs_can_support_them():
    squared = np.linspace(0.1, 1.9, 40).reshape(2, 20)
    result = on_a_line(squared.ravel(), [1] * 10 + [0] * 10 + [1] * 10 + [0] * 10, [0, 1] * 20)
    (rate,) = result.rates  # 20 pairs of two people stand for 0.1, not for 0.01
    assert rate.far_target == 0.1
    # The curve accepts 2 of 20 pairs of two people; those nearer are 10 of one person.
    assert rate.tar == 0.5
    assert rate.threshold == pytest.approx(squared.ravel()[11])


def test_pairs_are_accepted_by_the_threshold_of_their_fold():
    result = on_a_line(**TWO_FOLDS, far_target=0.25)
    assert result.accepted().tolist() == [True, False, False, False, True, True, True, False]
    assert result.accepted(at_val=True).tolist() == [True] + [False] * 3 + [True] * 4


def test_auc_and_eer_are_those_of_the_exact_curve():
    result = on_a_line(**TWO_FOLDS)
    # Of the 16 combinations, only 0.6057 of one person is above 0.5057 of two.
    assert result.auc == 15 / 16
    # The curve reaches a true accept rate of 3/4 without a false accept, and all with 1/4.
    assert result.eer == 0.25


def test_a_distance_on_the_threshold_is_no_match():
    result = on_a_line([0.995, 1.0, 1.0, 1.0], [1, 0, 1, 0], [0, 0, 1, 1])
    assert result.folds[1].threshold == 1.0
    assert result.folds[1].accuracy == 0.5


def test_perfect_embeddings():
    result = on_a_line([0.1, 1.9] * 10, [1, 0] * 10, np.repeat(np.arange(5), 4))
    assert (result.accuracy, result.val_rate, result.far) == (1, 1, 0)
    assert (result.auc, result.eer) == (1, 0)


def test_equal_embeddings_are_as_good_as_chance():
    for options in ({}, {"distance_metric": "cosine", "subtract_mean": True}):
        same, fold = np.arange(8) % 2 == 0, np.arange(8) // 2
        embeddings = np.full((8, 4), 0.5)
        rows = np.arange(8)
        result = verify(embeddings, IndexedPairs(rows, rows[::-1], same, fold), **options)
        assert (result.accuracy, result.auc, result.eer) == (0.5, 0.5, 0.5)
        # No threshold accepts few: the false accept rate says so.
        assert (result.val_rate, result.far) == (1, 1)


def test_cosine_distance_is_the_angle_in_half_turns():
    a = np.array([[1.0, 0], [2, 0], [3, 0], [1, 0], [0, 0]])
    b = np.array([[5.0, 0], [0, 1], [-1, 0], [1, 1], [1, 0]])
    distance = distances.distance(a, b, "cosine")
    np.testing.assert_allclose(distance, [0, 0.5, 1, 0.25, 0.5])


@pytest.mark.parametrize("far_target", [0.1, 0.9])
def test_a_rate_that_no_threshold_reaches_accepts_nothing(far_target):
    assert verification.far_threshold(np.zeros(4000), far_target) == 0


def test_a_rate_that_is_reached_at_the_end_takes_the_last_threshold():
    far = np.minimum(np.arange(4000), 2) / 4
    assert verification.far_threshold(far, 0.5) == verification.VAL_THRESHOLDS[-1]


def test_distances_are_those_of_the_pairs_own_fold():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(20, 3)) + 2
    a, b = np.arange(10), np.arange(10, 20)
    fold, same = np.repeat([0, 1], 5), np.arange(10) % 2 == 0
    options = {"distance_metric": "cosine", "subtract_mean": True}
    result = verify(embeddings, IndexedPairs(a, b, same, fold), **options)
    for number in (0, 1):
        mean = np.concatenate([embeddings[a], embeddings[b]])[np.tile(fold, 2) != number].mean(0)
        expected = distances.distance(embeddings[a] - mean, embeddings[b] - mean, "cosine")
        np.testing.assert_allclose(result.distances[fold == number], expected[fold == number])


def test_an_image_counts_in_the_mean_as_often_as_it_occurs():
    embeddings = np.array([[0.0], [3.0], [5.0]])
    a, b = np.array([0, 0, 1, 1]), np.array([1, 1, 2, 2])
    same, fold = np.array([1, 0, 1, 0], bool), np.array([0, 0, 1, 1])
    result = verify(
        embeddings, IndexedPairs(a, b, same, fold), distance_metric="cosine", subtract_mean=True
    )
    # Fold 0 is centred on 4, which leaves both on one side; fold 1 on 1.5, with the same outcome.
    np.testing.assert_allclose(result.distances, 0)


def test_a_fold_without_pairs_of_two_people_has_no_false_accept_rate():
    result = on_a_line([0.1, 0.9, 0.2, 0.8, 0.3], [1, 0, 1, 0, 1], [0, 0, 1, 1, 2])
    assert np.isnan(result.folds[2].far)
    assert result.folds[2].val_rate == 1
    # The mean is that of the two folds that have one: 0.9 is above 0.8, 0.8 below 0.9.
    assert result.far == 0.5


def test_folds_keep_their_numbers():
    result = on_a_line([0.1, 0.9, 0.2, 0.8], [1, 0, 1, 0], [2, 2, 7, 7])
    assert [fold.fold for fold in result.folds] == [2, 7]


@pytest.mark.parametrize(
    ("same", "fold", "message"),
    [
        ([1, 0, 1, 0], [0, 0, 0, 0], "pairs of one person are in 1 of 1 folds"),
        ([1, 1, 1, 1], [0, 0, 1, 1], "pairs of two people are in 0 of 2 folds"),
        ([1, 0, 1, 1], [0, 0, 1, 1], "pairs of two people are in 1 of 2 folds"),
        ([], [], "pairs of one person are in 0 of 0 folds"),
    ],
)
def test_folds_that_cannot_choose_a_threshold_are_refused(same, fold, message):
    with pytest.raises(PairsError, match=message):
        on_a_line(np.ones(len(same)), same, fold)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(broken):
    with pytest.raises(ArtifactError, match="1 of 9 embeddings are not finite, the first in row 3"):
        on_a_line([0.1, 0.2, 0.3, broken, 0.5, 0.6, 0.7, 0.8], [1, 0] * 4, [0] * 4 + [1] * 4)


@pytest.mark.parametrize(
    ("far", "tar", "eer"),
    [
        ([0, 1], [0, 1], 0.5),
        ([0, 0, 1], [0, 1, 1], 0),
        ([0, 1, 1], [0, 0, 1], 1),
        ([0, 0.2, 0.2, 1], [0, 0.4, 0.9, 1], 0.2),
        ([0, 0.1, 0.3], [0, 0.6, 1], 0.2),
        ([0, 0.1], [0, 0.5], 0.1 + 0.9 * 0.4 / 1.4),  # closed by (1, 1)
    ],
)
def test_equal_error_rate_lies_between_points(far, tar, eer):
    curve = Roc(np.array(far, float), np.array(tar, float), np.zeros(len(far)))
    assert curves.equal_error_rate(curve) == pytest.approx(eer)


# --- Against the definitions, written as loops ------------------------------------------------


def accuracy_by_definition(distances, same, threshold):
    return np.mean([(d < threshold) == s for d, s in zip(distances, same, strict=True)])


def rate_by_definition(distances, chosen, threshold):
    return np.mean([d < threshold for d, c in zip(distances, chosen, strict=True) if c])


def fold_by_definition(distances, same, test, far_target):
    train = ~test
    best, threshold = -1.0, None
    for candidate in verification.ACCURACY_THRESHOLDS:
        accuracy = accuracy_by_definition(distances[train], same[train], candidate)
        if accuracy > best:
            best, threshold = accuracy, candidate
    rates = [rate_by_definition(distances[train], ~same[train], t) for t in COARSE]
    val_threshold = 0.0
    for low, high in zip(range(len(COARSE) - 1), range(1, len(COARSE)), strict=True):
        if rates[low] <= far_target < rates[high]:
            share = (far_target - rates[low]) / (rates[high] - rates[low])
            val_threshold = COARSE[low] + share * (COARSE[high] - COARSE[low])
    return (
        accuracy_by_definition(distances[test], same[test], threshold),
        rate_by_definition(distances[test], same[test], val_threshold),
        rate_by_definition(distances[test], ~same[test], val_threshold),
    )


COARSE = np.arange(0, 4, 0.05)


@pytest.fixture
def _coarse_thresholds(monkeypatch):
    monkeypatch.setattr(verification, "VAL_THRESHOLDS", COARSE)
    monkeypatch.setattr(verification, "ACCURACY_THRESHOLDS", COARSE)


@pytest.mark.usefixtures("_coarse_thresholds")
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    nrof_folds=st.integers(2, 4),
    per_fold=st.integers(1, 5),
    metric=st.sampled_from(["euclidean", "cosine"]),
    subtract_mean=st.booleans(),
    far_target=st.sampled_from([0.001, 0.1, 0.3]),
)
def test_agrees_with_the_definitions(seed, nrof_folds, per_fold, metric, subtract_mean, far_target):
    rng = np.random.default_rng(seed)
    same = np.tile(np.repeat([True, False], per_fold), nrof_folds)
    fold = np.repeat(np.arange(nrof_folds), 2 * per_fold)
    embeddings = rng.normal(size=(2 * len(same), 3)) + 0.5
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    a, b = rng.integers(0, len(embeddings), (2, len(same)))
    options = {"distance_metric": metric, "subtract_mean": subtract_mean}
    result = verify(embeddings, IndexedPairs(a, b, same, fold), far_target=far_target, **options)
    for measured in result.folds:
        test = fold == measured.fold
        sides = np.concatenate([embeddings[a[~test]], embeddings[b[~test]]])
        mean = sides.mean(axis=0) if subtract_mean else 0.0
        apart = distances.distance(embeddings[a] - mean, embeddings[b] - mean, metric)
        expected = fold_by_definition(apart, same, test, far_target)
        assert (measured.accuracy, measured.val_rate, measured.far) == pytest.approx(expected)
    assert result.accuracy == pytest.approx(np.mean([each.accuracy for each in result.folds]))
    assert result.auc == pytest.approx(auc_by_definition(result.distances, same))


def auc_by_definition(distances, same):
    """The chance that a pair of one person is closer than one of two; half of it for a tie."""
    wins = [
        1.0 if near < far else 0.5 if near == far else 0.0
        for near in distances[same]
        for far in distances[~same]
    ]
    return np.mean(wins)
