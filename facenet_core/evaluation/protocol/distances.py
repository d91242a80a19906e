"""Distances of embeddings: squared Euclidean, or the angle between them."""

from __future__ import annotations

from typing import Literal

import numpy as np

DistanceMetric = Literal["euclidean", "cosine"]

_BLOCK = 8192


def distance(a: np.ndarray, b: np.ndarray, metric: DistanceMetric) -> np.ndarray:
    """Distances of rows: squared Euclidean, or angle/π in [0, 1].

    A vector of length zero has no direction: it is at 1/2, a right angle, from everything.

    Args:
        a: float64 [n, d].
        b: float64 [n, d].

    Returns:
        float64 [n].
    """
    if metric == "euclidean":
        return np.sum(np.square(a - b), axis=1)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    product = np.sum(a * b, axis=1)
    similarity = np.divide(product, norm, out=np.zeros_like(norm), where=norm > 0)
    # Rounding takes the similarity of equal vectors past 1, where the arc cosine is NaN.
    return np.arccos(np.clip(similarity, -1, 1)) / np.pi


def pair_distances(
    embeddings: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    metric: DistanceMetric,
    mean: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Distances float64 [n] of the pairs of rows `a`, `b`, after subtracting `mean` from all."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(a), _BLOCK)]
    return np.concatenate(
        [
            distance(
                embeddings[a[block]].astype(np.float64) - mean,
                embeddings[b[block]].astype(np.float64) - mean,
                metric,
            )
            for block in blocks
        ]
    )


def mean_embedding(embeddings: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean float64 [d] over all sides of the pairs: an image counts as often as it occurs."""
    times = np.bincount(np.concatenate([a, b]), minlength=len(embeddings)).astype(np.float64)
    return times @ embeddings / times.sum()
