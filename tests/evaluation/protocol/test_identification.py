import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facenet_core.evaluation.protocol import identification
from facenet_core.evaluation.protocol.identification import identify


def people(*images: int) -> np.ndarray:
    return np.array([f"P{n}" for n, count in enumerate(images) for _ in range(count)], object)


def test_equal_images_of_distinct_people_are_identified():
    identities = people(3, 2, 2, 1)
    vectors = np.eye(4)[np.unique(identities, return_inverse=True)[1]]
    results = identify(vectors, identities)
    assert (results.gallery, results.probes) == (4, 4)
    assert results.cmc.tolist() == [1, 1, 1, 1]
    assert results.rank(1) == results.rank(5) == 1


def test_equal_embeddings_identify_nobody():
    results = identify(np.ones((8, 3)), people(2, 2, 2, 2))
    assert results.cmc.tolist() == [0, 0, 0, 1]


def test_the_rank_counts_those_who_are_nearer():
    # On a line, at 0, 1 and 3; a second image of the first person at 2.1: two others are nearer.
    vectors = np.array([[0.0], [2.1], [1.0], [3.0]])
    identities = np.array(["A", "A", "B", "C"], object)
    ranks = {tuple(identify(vectors, identities, seed=seed).cmc) for seed in range(8)}
    # From 2.1 the first person's other image is third; from 0 it is second after 1.
    assert ranks == {(0, 0, 1), (0, 1, 1)}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(1, 4), min_size=2, max_size=8).filter(lambda c: max(c) > 1),
    metric=st.sampled_from(["euclidean", "cosine"]),
)
def test_agrees_with_a_loop_over_probes(seed, counts, metric):
    identities = people(*counts)
    vectors = np.random.default_rng(seed).normal(size=(len(identities), 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    results = identify(vectors, identities, distance_metric=metric, seed=5)
    rng = np.random.default_rng(5)
    gallery = {}
    for row in rng.permutation(len(identities)):
        gallery.setdefault(identities[row], row)
    ranks = []
    for row in set(range(len(identities))) - {*gallery.values()}:
        apart = {who: np.sum((vectors[row] - vectors[g]) ** 2) for who, g in gallery.items()}
        ranks.append(sum(d <= apart[identities[row]] + 1e-12 for d in apart.values()))
    for k in range(1, len(results.cmc) + 1):
        assert results.rank(k) == pytest.approx(np.mean(np.array(ranks) <= k))


def test_strangers_are_told_from_the_enrolled_at_a_false_accept_rate(monkeypatch):
    monkeypatch.setattr(identification, "OPEN_FARS", (0.1,))
    identities = people(*[4] * 30)
    centres = np.random.default_rng(0).normal(size=(30, 16))
    near = np.repeat(centres, 4, axis=0) + 0.01 * np.random.default_rng(1).normal(size=(120, 16))
    (perfect,) = identify(near, identities).open_set
    assert (perfect.rate, perfect.rate_std) == (1, 0)
    noise = np.random.default_rng(2).normal(size=(120, 16))
    (chance,) = identify(noise, identities).open_set
    assert chance.rate < 0.1


def test_rates_that_too_few_strangers_stand_for_are_left_out():
    assert identify(np.random.default_rng(0).normal(size=(8, 3)), people(2, 2, 2, 2)).open_set == ()


@pytest.mark.parametrize("images", [(1, 1, 1), (4,), ()])
def test_there_is_nothing_to_identify_with_one_person_or_one_image_each(images):
    identities = people(*images)
    assert identify(np.ones((len(identities), 2)), identities) is None


def test_images_of_nobody_known_are_left_out():
    identities = people(2, 2)
    vectors = np.array([[0.0], [0.1], [5.0], [5.1]])
    more = np.append(identities, np.array(["", ""], object))
    results = identify(np.append(vectors, [[0.05], [5.05]], axis=0), more)
    assert (results.gallery, results.probes, results.rank(1)) == (2, 2, 1)
