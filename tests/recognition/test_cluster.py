"""Faces are gathered by person, the largest cluster first."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from facenet_core.errors import ConfigError
from facenet_core.recognition.cluster import NOISE, agreement, cluster


def faces(*counts, seed=0):
    """So many embeddings around each axis."""
    random = np.random.default_rng(seed)
    rows = np.repeat(np.eye(8)[: len(counts)], counts, axis=0)
    rows = rows + random.normal(0, 0.05, rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("method", ["average", "dbscan", "hdbscan"])
def test_clusters_are_numbered_by_size(method):
    labels = cluster(faces(4, 7, 5), method=method, max_distance=0.6, min_faces=3)
    assert labels.tolist() == [2] * 4 + [0] * 7 + [1] * 5


def test_loners_are_in_no_cluster():
    labels = cluster(faces(4, 1, 3), max_distance=0.6, min_faces=3)
    assert labels.tolist() == [0] * 4 + [NOISE] + [1] * 3


def on_an_arc(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_a_chain_of_neighbours_does_not_join_two_people():
    """Neighbours 12 degrees apart reach around half a circle."""
    chain = on_an_arc(*range(0, 181, 12))
    assert set(cluster(chain, method="dbscan")) == {0}
    labels = cluster(chain)
    assert labels[0] != labels[-1]
    assert all(np.ptp(np.flatnonzero(labels == label)) < 8 for label in set(labels))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 40),
    st.sampled_from([0.3, 0.6, 0.9, 1.2, 1.5]),
    st.booleans(),
)
def test_average_linkage_is_that_of_scipy(seed, count, distance, twice):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 4))
    if twice:  # photographs that are there twice lie at equal distances from all others
        vectors = np.concatenate([vectors, vectors])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    tree = linkage(vectors.astype(np.float64), "average", metric="cosine")
    expected = fcluster(tree, distance**2 / 2, "distance")
    labels = cluster(vectors, max_distance=distance)
    loners = labels == NOISE
    labels[loners] = labels.max() + 1 + np.arange(loners.sum())
    assert adjusted_rand_score(expected, labels) == 1


def test_embeddings_that_are_not_finite_are_an_error():
    with pytest.raises(ValueError, match="finite embeddings"):
        cluster(np.full((3, 4), np.nan, np.float32))


def test_fewer_faces_than_a_cluster_needs_are_in_none():
    assert cluster(faces(2), min_faces=3).tolist() == [NOISE] * 2


@pytest.mark.parametrize("options", [{"max_distance": 0}, {"max_distance": 2}, {"min_faces": 1}])
def test_parameters_out_of_range_are_an_error(options):
    with pytest.raises(ConfigError, match="distance between 0 and 2"):
        cluster(faces(3), **options)


@given(st.lists(st.tuples(st.integers(-1, 3), st.sampled_from("ABC")), min_size=2, max_size=20))
def test_agreement_counts_pairs(rows):
    labels, names = np.array([label for label, _ in rows]), [name for _, name in rows]
    pairs = list(combinations(range(len(rows)), 2))
    together = {(a, b) for a, b in pairs if labels[a] == labels[b] != NOISE}
    one_person = {(a, b) for a, b in pairs if names[a] == names[b]}
    agreement_of_labels = agreement(labels, names)
    both = len(together & one_person)
    assert agreement_of_labels["precision"] == (both / len(together) if together else None)
    assert agreement_of_labels["recall"] == (both / len(one_person) if one_person else None)
