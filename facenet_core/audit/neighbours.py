"""Nearest neighbours by FAISS (Douze et al., arXiv:2401.08281).

Among up to `exact` vectors they are exact: all inner products, a block at a time. Among more they
are looked for in the nearest cells of an inverted file (IVF; Jégou, Douze and Schmid 2011) whose
vectors are kept in half precision. Memory: the vectors stay where they are, the inverted file takes
2·d + 8 bytes for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EXACT = 1_000_000
NONE = -1
_QUERIES = 8192  # at a time
_CELLS_SEARCHED = 16
_TRAINED_ON = 64  # vectors for each cell


@dataclass(frozen=True)
class Neighbours:
    """For each of n queries its k nearest vectors.

    Attributes:
        rows: int64 [n, k], their numbers, the nearest first; −1 where there are no more.
        products: float32 [n, k], inner products; −inf where there are no more.
    """

    rows: np.ndarray
    products: np.ndarray


def nearest(
    queries: np.ndarray,
    vectors: np.ndarray,
    k: int,
    *,
    exact: int = EXACT,
    change: Callable[[np.ndarray], np.ndarray] = lambda block: block,
) -> Neighbours:
    """The vectors with the largest inner products with each query.

    Args:
        queries: float32 [n, d].
        vectors: float32 [m, d].
        k: how many.
        exact: most vectors that are searched exactly.
        change: makes the queries of what is passed as such, a block at a time.
    """
    import faiss

    count = min(k, len(vectors))
    rows = np.full((len(queries), k), NONE, np.int64)
    products = np.full((len(queries), k), -np.inf, np.float32)
    index = None if len(vectors) <= exact else _inverted_file(vectors)
    for start in range(0, len(queries) if count else 0, _QUERIES):
        block = np.ascontiguousarray(change(queries[start : start + _QUERIES]), np.float32)
        end = start + len(block)
        if index is None:
            near, numbers = faiss.knn(block, vectors, count, metric=faiss.METRIC_INNER_PRODUCT)
        else:
            near, numbers = index.search(block, count)
        rows[start:end, :count], products[start:end, :count] = numbers, near
    return Neighbours(rows, products)


def nearest_others(vectors: np.ndarray, k: int, *, exact: int = EXACT) -> Neighbours:
    """For each vector the nearest of the others."""
    both = nearest(vectors, vectors, k + 1, exact=exact)
    own = both.rows == np.arange(len(vectors))[:, None]
    # Where k others are as near as the vector itself, the last of them goes instead.
    own[~own.any(axis=1), -1] = True
    shape = (len(vectors), k)
    return Neighbours(both.rows[~own].reshape(shape), both.products[~own].reshape(shape))


def _inverted_file(vectors: np.ndarray):  # type: ignore[no-untyped-def]
    import faiss

    count, dimensions = vectors.shape
    cells = 1 << int(np.log2(4 * np.sqrt(count)))
    index = faiss.index_factory(dimensions, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(count, min(count, _TRAINED_ON * cells), replace=False)
    index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
    for start in range(0, count, _QUERIES):
        index.add(np.ascontiguousarray(vectors[start : start + _QUERIES]))
    faiss.extract_index_ivf(index).nprobe = _CELLS_SEARCHED
    return index
