import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facenet_core.evaluation.protocol import bootstrap
from facenet_core.evaluation.protocol.bootstrap import Sampling
from facenet_core.evaluation.protocol.verification import IndexedPairs, verify


def some_pairs(seed: int, *, people: int = 12, pairs: int = 40, folds: int = 2):
    """Embeddings, rows of both sides, same, fold, and who is on both sides."""
    rng = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    first = rng.integers(0, people, pairs)
    second = np.where(same, first, (first + rng.integers(1, people, pairs)) % people)
    centres = rng.normal(size=(people, 3))
    vectors = centres[np.concatenate([first, second])] + 0.8 * rng.normal(size=(2 * pairs, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = np.array([f"P{n}" for n in range(people)], object)
    rows = np.arange(pairs)
    return vectors, rows, rows + pairs, same, rows % (2 * folds) // 2, names[first], names[second]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    options=st.fixed_dictionaries(
        {
            "subtract_mean": st.booleans(),
            "distance_metric": st.sampled_from(["euclidean", "cosine"]),
        }
    ),
)
def test_weights_of_one_give_the_figures_themselves(seed, options):
    vectors, a, b, same, fold, *_ = some_pairs(seed)
    verification = verify(vectors, IndexedPairs(a, b, same, fold), far_target=0.2, **options)
    again = bootstrap.replicate(verification, np.ones((2, len(same))))
    for name in bootstrap.METRICS:
        assert again[name] == pytest.approx([getattr(verification, name)] * 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_weight_is_as_good_as_copies(seed):
    vectors, a, b, same, fold, *_ = some_pairs(seed)
    weights = np.random.default_rng(seed).integers(0, 3, len(same))
    weights[:8] = np.maximum(weights[:8], 1)  # both kinds in both folds
    copies = np.repeat(np.arange(len(same)), weights)
    repeated = IndexedPairs(a[copies], b[copies], same[copies], fold[copies])
    copied = verify(vectors, repeated, far_target=0.2)
    verification = verify(vectors, IndexedPairs(a, b, same, fold), far_target=0.2)
    weighted = bootstrap.replicate(verification, weights[None].astype(float))
    for name in bootstrap.METRICS:
        assert weighted[name][0] == pytest.approx(getattr(copied, name))


def test_people_are_drawn_and_their_pairs_follow():
    *_, same, _, first, second = some_pairs(0)
    sampling = Sampling.of(first, second, same)
    assert sampling.unit == "identity"
    people = int(max(sampling.person_a.max(), sampling.person_b.max())) + 1
    for row in np.concatenate(list(sampling.weights(50, seed=1))):
        count = {}
        for person, weight in zip(first[same], row[same], strict=True):
            assert count.setdefault(person, weight) == weight
        assert sum(count.values()) <= people
        for a, b, weight in zip(first[~same], second[~same], row[~same], strict=True):
            if a in count and b in count:
                assert weight == count[a] * count[b]


@pytest.mark.parametrize("spoil", ["unknown", "same people", "two people"])
def test_pairs_are_drawn_where_people_are_not_known_or_contradict(spoil):
    *_, same, _, first, second = some_pairs(0)
    if spoil == "unknown":
        first[3] = ""
    elif spoil == "same people":  # folders such as `frontal` and `profile`
        first[:], second[:] = "frontal", "profile"
    else:
        second[1] = first[1]
    sampling = Sampling.of(first, second, same)
    assert sampling.unit == "pair"
    for row in np.concatenate(list(sampling.weights(20, seed=0))):
        assert row.sum() == len(same)


def test_intervals_hold_the_figures_and_depend_on_the_seed_alone():
    vectors, a, b, same, fold, first, second = some_pairs(1, people=60, pairs=400)
    verification = verify(vectors, IndexedPairs(a, b, same, fold), far_target=0.1)
    sampling = Sampling.of(first, second, same)
    drawn = bootstrap.replicates(verification, sampling, count=300)
    intervals = bootstrap.intervals(drawn)
    for name in bootstrap.METRICS:
        low, high = intervals[name]
        assert low < getattr(verification, name) < high
    low, high = intervals["auc"]
    assert high - low < 0.2
    again = bootstrap.replicates(verification, sampling, count=300)
    other = bootstrap.replicates(verification, sampling, count=300, seed=1)
    assert np.array_equal(drawn["auc"], again["auc"])
    assert not np.array_equal(drawn["auc"], other["auc"])


def test_more_people_narrow_the_interval():
    widths = []
    for people in (20, 200):
        vectors, a, b, same, fold, *who = some_pairs(2, people=people, pairs=20 * people // 4)
        verification = verify(vectors, IndexedPairs(a, b, same, fold), far_target=0.1)
        drawn = bootstrap.replicates(verification, Sampling.of(*who, same), count=200)
        low, high = bootstrap.interval(drawn["auc"])
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    """The area under the ROC of two normal distributions is known."""
    from scipy.stats import norm

    truth = norm.cdf(1 / np.sqrt(2))
    inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        same = np.arange(200) % 2 == 0
        distances = rng.normal(size=200) + ~same
        places = np.append(np.sqrt(distances - distances.min()), 0.0)[:, None]
        fold = np.arange(200) // 100
        rows = IndexedPairs(np.arange(200), np.full(200, 200), same, fold)
        verification = verify(places, rows, far_target=0.1)
        pairs = Sampling("pair", np.arange(200), np.arange(200))
        auc = bootstrap.replicates(verification, pairs, count=100)["auc"]
        low, high = bootstrap.interval(auc)
        inside += low <= truth <= high
    assert 34 <= inside <= 40


def test_replicates_without_a_figure_are_left_out_and_too_few_give_no_interval():
    values = np.append(np.arange(60.0), [np.nan] * 40)
    assert bootstrap.interval(values) == pytest.approx((1.475, 57.525))
    assert bootstrap.interval(np.append(np.arange(40.0), [np.nan] * 60)) is None
    assert bootstrap.interval(np.empty(0)) is None


@pytest.mark.parametrize(("different", "expected"), [(99, False), (100, True)])
def test_val_has_an_interval_where_ten_pairs_stand_behind_its_rate(different, expected):
    same = np.array([True] * 5 + [False] * different)
    assert bootstrap.supports_val(same, 0.1) is expected
