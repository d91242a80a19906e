"""How well unknown faces are gathered by person: methods and distances, on named embeddings.

    facenet embed lfw-dev.tgz --model MODEL --output lfw.parquet
    facenet embed celeba-dev.tgz --model MODEL --output celeba.parquet
    python benchmarks/clustering.py lfw.parquet celeba.parquet

For each method and distance it prints the adjusted Rand index, and the precision and recall over
all pairs of faces: for each table, for the people of the first with four photographs or more, and
for 30 people with 10 photographs each of the second (the mean of five draws). A face in no cluster
counts as a cluster of its own, and so does a person of one photograph. Distances are Euclidean, of
embeddings of unit length.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from facenet_core.recognition import cluster, tables
from facenet_core.recognition.tables import Faces

PEOPLE, PHOTOGRAPHS, DRAWS = 30, 10, 5
SEVERAL = 4
DISTANCES = np.round(np.arange(0.6, 1.21, 0.05), 2)

Labels = Callable[[np.ndarray], np.ndarray]


def methods() -> Iterator[tuple[str, Labels]]:
    """Names, and what gives the labels of embeddings."""
    yield "hdbscan", lambda vectors: cluster.cluster(vectors, method="hdbscan")
    yield "hdbscan, leaves", hdbscan_leaves
    for distance in DISTANCES:
        yield f"dbscan {distance:.2f}", dbscan(distance)
    for linkage in ("average", "complete"):
        for distance in DISTANCES:
            yield f"{linkage} linkage {distance:.2f}", agglomerative(linkage, distance)
    for distance in DISTANCES:
        yield f"Chinese whispers {distance:.2f}", chinese_whispers(distance)


def dbscan(distance: float) -> Labels:
    """Ester et al. 1996, the original's."""
    return lambda vectors: cluster.cluster(vectors, method="dbscan", max_distance=distance)


def hdbscan_leaves(vectors: np.ndarray) -> np.ndarray:
    """Campello et al. 2013, with the smallest clusters of the tree."""
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(2, cluster_selection_method="leaf", copy=True).fit_predict(vectors)


def agglomerative(linkage: str, distance: float) -> Labels:
    """Pairs of clusters are joined while their mean, or greatest, cosine distance is below."""

    def labels(vectors: np.ndarray) -> np.ndarray:
        from sklearn.cluster import AgglomerativeClustering

        return AgglomerativeClustering(
            None, metric="cosine", linkage=linkage, distance_threshold=distance**2 / 2
        ).fit_predict(vectors)

    return labels


def chinese_whispers(distance: float, rounds: int = 20) -> Labels:
    """Biemann 2006, as dlib does it: each face takes the label that its neighbours weigh most."""

    def labels(vectors: np.ndarray) -> np.ndarray:
        from sklearn.neighbors import radius_neighbors_graph

        graph = radius_neighbors_graph(vectors, distance, mode="distance")
        graph.data = 1 - graph.data**2 / 2  # cosines
        names = np.arange(len(vectors))
        rng = np.random.default_rng(0)
        for _ in range(rounds):
            for face in rng.permutation(len(vectors)):
                row = slice(graph.indptr[face], graph.indptr[face + 1])
                if row.start < row.stop:
                    near, numbers = np.unique(names[graph.indices[row]], return_inverse=True)
                    weights = np.bincount(numbers, graph.data[row])
                    names[face] = near[weights.argmax()]
        return names

    return labels


def agreement(faces: list[Faces], labels: Labels) -> tuple[float, float, float]:
    """Adjusted Rand index, precision and recall of pairs, means over the sets."""
    scores = [cluster.agreement(labels(part.vectors), part.identities) for part in faces]
    names = ("adjusted_rand", "precision", "recall")
    means = [float(np.mean([score[name] or 0.0 for score in scores])) for name in names]
    return means[0], means[1], means[2]


def with_several(faces: Faces) -> Faces:
    """The people with several photographs."""
    counts = Counter(faces.identities)
    several = [row for row, name in enumerate(faces.identities) if counts[name] >= SEVERAL]
    return faces.take(np.array(several))


def drawn(faces: Faces, seed: int) -> Faces:
    """So many photographs of so many people."""
    rng = np.random.default_rng(seed)
    names = np.array(faces.identities, object)
    people, counts = np.unique(names, return_counts=True)
    some = rng.choice(people[counts >= PHOTOGRAPHS], PEOPLE, replace=False)
    rows = [rng.choice(np.flatnonzero(names == name), PHOTOGRAPHS, replace=False) for name in some]
    return faces.take(np.concatenate(rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", metavar="EMBEDDINGS", help="a table of `facenet embed`")
    parser.add_argument("second", metavar="EMBEDDINGS", help="one with 10 photographs of 30 people")
    options = parser.parse_args()
    first = tables.read(options.first, every_face=False)
    second = tables.read(options.second, every_face=False)
    several = with_several(first)
    sets = {
        f"{len(first.vectors):,} faces": [first],
        f"{len(several.vectors):,} faces": [several],
        f"{len(second.vectors):,} faces": [second],
        f"{PEOPLE} x {PHOTOGRAPHS}": [drawn(second, seed) for seed in range(DRAWS)],
    }
    print(f"{'ARI, precision, recall':28}" + "".join(f"{name:>24}" for name in sets))
    for name, labels in methods():
        cells = []
        for faces in sets.values():
            figures = agreement(faces, labels)
            cells.append("  ".join(f"{figure:.3f}" for figure in figures).rjust(24))
        print(f"{name:28}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
