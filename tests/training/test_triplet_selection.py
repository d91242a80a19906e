import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facenet_core.training.losses import select_triplets as select


def unit(seed, labels, spread=1.0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(labels) + 1, 3))
    vectors = centres[labels] + spread * random.normal(size=(len(labels), 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def squared(a, b):
    return np.sum((a - b) ** 2)


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=12).map(sorted),
    seed=st.integers(0, 1000),
    selection=st.sampled_from(["violating", "semi_hard"]),
)
def test_each_pair_gets_a_negative_within_the_margin_where_there_is_one(labels, seed, selection):
    x = unit(seed, labels)
    triplets = select(x, np.array(labels), 0.2, selection, [seed])
    results = {(a, p): n for a, p, n in triplets.tolist()}
    assert len(results) == len(triplets)
    for a in range(len(labels)):
        for p in range(a + 1, len(labels)):
            if labels[a] != labels[p]:
                assert (a, p) not in results
                continue
            positive = squared(x[a], x[p])
            fitting = [
                n
                for n in range(len(labels))
                if labels[n] != labels[a]
                and squared(x[a], x[n]) - positive < 0.2
                and (selection == "violating" or squared(x[a], x[n]) > positive)
            ]
            assert results.get((a, p)) in (fitting or [None])


def test_any_negative_that_fits_may_be_drawn():
    labels = np.array([0, 0, 1, 1, 2, 2])
    x = unit(1, labels, spread=3.0)
    drawn = {
        tuple(t) for seed in range(200) for t in select(x, labels, 3.0, "violating", [seed])[:, :3]
    }
    assert {n for a, p, n in drawn if (a, p) == (0, 1)} == {2, 3, 4, 5}


def test_the_choice_is_a_function_of_its_seed():
    labels = np.repeat(np.arange(5), 4)
    first, same, other = (select(unit(0, labels), labels, 0.2, "violating", [s]) for s in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("selection", ["violating", "semi_hard"])
def test_people_far_apart_give_no_triplets(selection):
    labels = np.array([0, 0, 1, 1])
    x = np.array([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [-1, 0, 0]])
    assert select(x, labels, 0.2, selection, [0]).shape == (0, 3)
