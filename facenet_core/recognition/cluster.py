"""Clusters of unlabelled faces, one a person, by their embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from facenet_core.errors import ConfigError

NOISE = -1
Method = Literal["average", "hdbscan", "dbscan"]

# By benchmarks/clustering.py, see docs/models.md: for models that were not validated, and as a
# share of the threshold that a validation found. It lies lower, for of a thousand faces nearly all
# pairs are of two people, of a validation's half.
DEFAULT_DISTANCE = 0.9
SHARE_OF_THRESHOLD = 0.83
_SAME = 1e-9  # cosines that differ by less are equal


def cluster(
    vectors: np.ndarray,
    *,
    method: Method = "average",
    max_distance: float = DEFAULT_DISTANCE,
    min_faces: int = 2,
) -> np.ndarray:
    """A number for each face, from 0 for the largest cluster on; −1 for faces that are in none.

    Args:
        vectors: float32 [n, d] of unit length.
        method: average linkage (Sokal and Michener 1958): the two nearest clusters become one
            while the faces of one are near those of the other on average, so no chain of
            neighbours leads from person to person. DBSCAN (Ester et al. 1996), the original's,
            joins all that such a chain connects. HDBSCAN (Campello et al. 2013) finds a distance
            of its own for each cluster.
        max_distance: Euclidean; of `average` the root mean square over the faces of two clusters,
            of `dbscan` between neighbours.
        min_faces: of a cluster.

    Raises:
        ConfigError: a parameter is out of its range.
        ValueError: an embedding is not finite.
    """
    if not np.isfinite(vectors).all():
        raise ValueError("clusters: expected finite embeddings")
    if not 0 < max_distance < 2 or min_faces < 2:
        raise ConfigError(
            f"clusters: expected a distance between 0 and 2 and 2 faces or more, got "
            f"{max_distance:g} and {min_faces}"
        )
    if len(vectors) < min_faces:
        return np.full(len(vectors), NOISE)
    if method == "average":
        labels = _average_linkage(vectors, least_cosine=1 - max_distance**2 / 2)
        _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return _by_size(np.where(sizes[labels] < min_faces, NOISE, labels))
    from sklearn.cluster import DBSCAN, HDBSCAN

    if method == "hdbscan":
        model = HDBSCAN(min_cluster_size=min_faces, copy=True)
    else:
        model = DBSCAN(eps=max_distance, min_samples=min_faces, n_jobs=-1)
    return _by_size(model.fit_predict(np.asarray(vectors, np.float32)))


def _average_linkage(vectors: np.ndarray, least_cosine: float) -> np.ndarray:
    """For each face the number of a face of its cluster, the same one for all of the cluster.

    Clusters are joined while the mean cosine of their faces is `least_cosine` or more. That of unit
    vectors follows from the clusters' sums, so memory grows with the number of faces, where SciPy
    keeps all distances (20 GB for 50,000). The order is that of the nearest-neighbour chain
    (Benzécri 1982): follow nearest neighbours until two are each other's. What has no neighbour
    near enough is final: joining others never brings them nearer to it.
    """
    sums = np.array(vectors, np.float64)
    counts = np.ones(len(sums))
    first = np.arange(len(sums))  # face of each cluster
    joined_to = np.arange(len(sums))
    active = np.ones(len(sums), bool)
    chain: list[int] = []
    while active.any():
        if not chain:
            if active.sum() < len(active) / 2:
                sums, counts, first = sums[active], counts[active], first[active]
                active = np.ones(len(sums), bool)
            chain.append(int(active.argmax()))
        tip = chain[-1]
        cosines = (sums @ sums[tip]) / (counts * counts[tip])
        cosines[~active] = cosines[tip] = -np.inf
        nearest = int(cosines.argmax())
        if cosines[nearest] < least_cosine:
            active[tip] = False
            chain.pop()
        elif len(chain) > 1 and cosines[nearest] < cosines[chain[-2]] + _SAME:
            other = chain[-2]
            del chain[-2:]
            sums[other] += sums[tip]
            counts[other] += counts[tip]
            active[tip] = False
            joined_to[first[tip]] = first[other]
        else:
            chain.append(nearest)
    while (joined_to != joined_to[joined_to]).any():
        joined_to = joined_to[joined_to]
    return joined_to


def agreement(labels: np.ndarray, identities: Sequence[str]) -> dict[str, Any]:
    """How clusters agree with who is known to be on the faces, over all pairs of faces.

    Returns:
        `precision`: share of pairs in one cluster that are one person's; `recall`: share of pairs
        of one person that are in one cluster; `adjusted_rand`: Hubert and Arabie's index. None
        where there are no such pairs.
    """
    from sklearn.metrics import adjusted_rand_score

    # Each face in no cluster is one by itself.
    labels = np.asarray(labels).copy()
    alone = labels == NOISE
    labels[alone] = labels.max(initial=0) + 1 + np.arange(alone.sum())
    both = _pairs(zip(labels.tolist(), identities, strict=True))
    together, one_person = _pairs(labels.tolist()), _pairs(identities)
    return {
        "precision": both / together if together else None,
        "recall": both / one_person if one_person else None,
        "adjusted_rand": float(adjusted_rand_score(list(identities), labels)),
    }


def _pairs(values: Any) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(values).values())


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Renumber clusters by descending size, equal ones by their first face."""
    clusters, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = [i for i in np.lexsort((first, -counts)) if clusters[i] != NOISE]
    number = {int(clusters[i]): rank for rank, i in enumerate(order)}
    return np.array([number.get(int(label), NOISE) for label in labels], int)
