"""Face identification: whose face is it, of all the people in a gallery, or of none of them?

Closed set: the gallery holds one image of every person, the other images are probes; rank k means
that the right person is among the k nearest. Open set: half of the people, drawn several times,
are enrolled; a probe is identified if the nearest of them is the right one and near enough, and a
probe of somebody who is not enrolled must be near to nobody (DIR at FAR: Phillips, Grother and
Micheals, Handbook of Face Recognition, 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facenet_core.evaluation.protocol.distances import DistanceMetric

MAX_RANK = 50
OPEN_FARS = (1e-1, 1e-2, 1e-3)
_SPLITS = 10
_BLOCK_CELLS = 2**22


@dataclass(frozen=True)
class OpenSet:
    """Detection and identification rate at a false accept rate, over the draws of the enrolled.

    Attributes:
        far: share of the probes of strangers that are taken for somebody.
        rate: mean share of the probes of enrolled people that are identified.
        rate_std: its deviation over the draws.
    """

    far: float
    rate: float
    rate_std: float


@dataclass(frozen=True)
class Identification:
    """How well people are found in a gallery.

    Attributes:
        gallery: images in it, one a person.
        probes: the other images.
        cmc: float64 [k], share of the probes whose person is among the nearest 1, 2 … k.
        open_set: for those of `OPEN_FARS` that one probe of a stranger or more stands for.
    """

    gallery: int
    probes: int
    cmc: np.ndarray
    open_set: tuple[OpenSet, ...]

    def rank(self, k: int) -> float:
        """Share of the probes whose person is among the k nearest."""
        return float(self.cmc[min(k, len(self.cmc)) - 1])


def identify(
    vectors: np.ndarray,
    identities: np.ndarray,
    *,
    distance_metric: DistanceMetric = "euclidean",
    subtract_mean: bool = False,
    seed: int = 0,
) -> Identification | None:
    """Identify each image in a gallery of one image of every person, drawn by `seed`.

    Images as far away as the right one count as nearer: equal embeddings identify nobody.

    Args:
        vectors: float [n, d].
        identities: str objects [n]; images of nobody known (empty) are left out.
        distance_metric: as in verification; both give vectors of equal length the same order.
        subtract_mean: first subtract the mean of all vectors.
        seed: of the gallery, and of who is enrolled.

    Returns:
        None where fewer than two people, or nobody with two images, are there.
    """
    vectors = vectors[identities != ""].astype(np.float64)
    people = np.unique(identities[identities != ""], return_inverse=True)[1]
    if len(people) == 0 or len(people) == people.max() + 1 or people.max() == 0:
        return None
    rng = np.random.default_rng(seed)
    if subtract_mean:
        vectors -= vectors.mean(axis=0)
    if distance_metric == "cosine":
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    shuffled = rng.permutation(len(people))
    _, first = np.unique(people[shuffled], return_index=True)
    gallery = shuffled[first]  # row i: the image of person i
    probes = np.setdiff1d(np.arange(len(people)), gallery)
    enrolled = np.stack([_half(len(gallery), rng) for _ in range(_SPLITS)])
    ranks, mates, others = _search(vectors, people, gallery, probes, enrolled)
    cmc = np.cumsum(np.bincount(ranks, minlength=MAX_RANK + 1)[1 : MAX_RANK + 1]) / len(probes)
    cmc = cmc[: min(MAX_RANK, len(gallery))]
    return Identification(
        len(gallery), len(probes), cmc, _open_set(mates, others, enrolled[:, people[probes]])
    )


def _half(people: int, rng: np.random.Generator) -> np.ndarray:
    enrolled = np.zeros(people, bool)
    enrolled[rng.permutation(people)[: (people + 1) // 2]] = True
    return enrolled


def _search(
    vectors: np.ndarray,
    people: np.ndarray,
    gallery: np.ndarray,
    probes: np.ndarray,
    enrolled: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Search the gallery for each probe.

    Returns:
        The rank of the right person, int [p]; the distance to them, float64 [p]; the distance to
        the nearest other person among those of each draw of the enrolled, float64 [s, p].
    """
    faces = vectors[gallery]
    squares = np.sum(faces**2, axis=1)
    ranks = np.empty(len(probes), int)
    mates = np.empty(len(probes))
    others = np.empty((len(enrolled), len(probes)))
    size = max(1, _BLOCK_CELLS // len(gallery))
    for start in range(0, len(probes), size):
        block = slice(start, start + size)
        images = probes[block]
        probe = vectors[images]
        distances = np.sum(probe**2, axis=1)[:, None] + squares - 2 * probe @ faces.T
        # Sums in another order differ in their last digits: those are no reason to be nearer.
        distances = np.round(distances, 10)
        rows, right = np.arange(len(images)), people[images]
        mates[block] = distances[rows, right]
        ranks[block] = (distances <= mates[block, None]).sum(axis=1)
        distances[rows, right] = np.inf
        for draw, people_in in enumerate(enrolled):
            others[draw, block] = distances[:, people_in].min(axis=1)
    return ranks, mates, others


def _open_set(
    mates: np.ndarray, others: np.ndarray, probe_enrolled: np.ndarray
) -> tuple[OpenSet, ...]:
    rates_at: dict[float, list[float]] = {far: [] for far in OPEN_FARS}
    for nearest, inside in zip(others, probe_enrolled, strict=True):
        strangers = np.sort(nearest[~inside])
        first = np.where(mates < nearest, mates, np.inf)[inside]
        for far in OPEN_FARS:
            if far * len(strangers) >= 1 and len(first):
                # At most this share of the strangers is nearer than the threshold.
                threshold = strangers[int(far * len(strangers))]
                rates_at[far].append(float((first < threshold).mean()))
    return tuple(
        OpenSet(far, float(np.mean(rates)), float(np.std(rates)))
        for far, rates in rates_at.items()
        if rates
    )
