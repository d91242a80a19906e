"""The people of a set, as their photographs show them.

The faces of an identity are clustered by average linkage, as `facenet cluster` does; its core is
the largest cluster. A face is compared with a core by the root mean square of its distances to the
core's faces, which follows from the mean of their embeddings alone. One bad photograph moves it
little, and thresholds for pairs of photographs hold for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facenet_core.audit.faces import Faces
from facenet_core.recognition.cluster import cluster


@dataclass(frozen=True)
class Cores:
    """The core of each identity.

    Attributes:
        means: float32 [identities, d], mean of the embeddings in the core, shorter than 1.
        sizes: int64 [identities], faces in the core.
        typical: int64 [identities], row of the face that is nearest to the core.
        cluster_of: int32 [faces], 0 for the core of their identity, from 1 on for its other
            clusters, −1 for faces in none.
    """

    means: np.ndarray
    sizes: np.ndarray
    typical: np.ndarray
    cluster_of: np.ndarray


def find_cores(faces: Faces, same: float) -> Cores:
    """Cluster the faces of each identity.

    Args:
        same: root mean square distance within a cluster, at most.
    """
    dimensions = faces.vectors.shape[1]
    means = np.zeros((len(faces.names), dimensions), np.float32)
    sizes = np.zeros(len(faces.names), np.int64)
    typical = np.zeros(len(faces.names), np.int64)
    cluster_of = np.zeros(len(faces), np.int32)
    for number, rows in enumerate(faces.by_identity):
        vectors = np.asarray(faces.vectors[rows])
        labels = _clusters(vectors, same)
        cluster_of[rows] = labels
        core = labels == 0
        means[number] = vectors[core].mean(axis=0)
        sizes[number] = core.sum()
        typical[number] = rows[core][np.argmax(vectors[core] @ means[number])]
    return Cores(means, sizes, typical, cluster_of)


def _clusters(vectors: np.ndarray, same: float) -> np.ndarray:
    total = vectors.sum(axis=0)
    if len(vectors) < 3 or _compact(vectors, total, same):
        return np.zeros(len(vectors), np.int32)
    labels = cluster(vectors, max_distance=same).astype(np.int32)
    if (labels < 0).all():  # nobody is like anybody: who it is cannot be said
        labels[:] = 0
    return labels


def _compact(vectors: np.ndarray, total: np.ndarray, same: float) -> bool:
    """Whether every face is near to the others, so that they need not be clustered."""
    others = (vectors @ total - 1) / (len(vectors) - 1)
    return bool((distance(others) < same).all())


def distance(products: np.ndarray | float) -> np.ndarray:
    """Root mean square distances of unit vectors, of the means of their inner products."""
    return np.sqrt(np.maximum(2 - 2 * np.asarray(products, np.float64), 0)).astype(np.float32)


def to_own_core(faces: Faces, cores: Cores, rows: np.ndarray) -> np.ndarray:
    """Float32 [rows], distance of faces to the core of their own identity without themselves; NaN
    where it has no other face."""
    numbers = faces.identities[rows]
    vectors = np.asarray(faces.vectors[rows])
    sizes = cores.sizes[numbers]
    inside = cores.cluster_of[rows] == 0
    sums = np.einsum("nd,nd->n", vectors, cores.means[numbers]) * sizes - inside
    others = sizes - inside
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(others > 0, distance(sums / others), np.nan).astype(np.float32)
