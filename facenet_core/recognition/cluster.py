"""Faces of nobody known, gathered by person: clusters of density in the space of embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from facenet_core.errors import ConfigError

NOISE = -1
Method = Literal["dbscan", "hdbscan"]

# Most who cluster have seen no pairs: the original's cluster.py asks the same of its users.
DEFAULT_DISTANCE = 0.9


def cluster(
    vectors: np.ndarray,
    *,
    method: Method = "dbscan",
    max_distance: float = DEFAULT_DISTANCE,
    min_faces: int = 2,
) -> np.ndarray:
    """A number for each face, from 0 for the largest cluster on; −1 for faces that are in none.

    Args:
        vectors: float32 [n, d] of unit length.
        method: DBSCAN (Ester et al. 1996), as the original, or HDBSCAN (Campello et al. 2013),
            which finds a distance of its own for each cluster.
        max_distance: Euclidean, between neighbours in a cluster; of `dbscan` only.
        min_faces: of a cluster.

    Raises:
        ConfigError: a parameter is out of its range.
    """
    if not 0 < max_distance < 2 or min_faces < 2:
        raise ConfigError(
            f"clusters: expected a distance between 0 and 2 and 2 faces or more, got "
            f"{max_distance:g} and {min_faces}"
        )
    from sklearn.cluster import DBSCAN, HDBSCAN

    if len(vectors) < min_faces:
        return np.full(len(vectors), NOISE)
    if method == "hdbscan":
        model = HDBSCAN(min_cluster_size=min_faces, copy=True)
    else:
        model = DBSCAN(eps=max_distance, min_samples=min_faces, n_jobs=-1)
    return _by_size(model.fit_predict(np.asarray(vectors, np.float32)))


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
