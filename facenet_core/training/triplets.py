"""Which triplets to train on: anchor, positive and a negative that is still too near."""

from __future__ import annotations

from typing import Literal

import numpy as np

Selection = Literal["violating", "semi_hard"]


def select(
    embeddings: np.ndarray, labels: np.ndarray, alpha: float, selection: Selection, seed: list[int]
) -> np.ndarray:
    """Triplets int64 [t, 3] of row numbers, in random order.

    Each two images of a person are an anchor and a positive; the negative is one, drawn at random,
    of the images of others that lie nearer to the anchor than the positive does plus `alpha`. Pairs
    for which there is none give no triplet.

    Args:
        embeddings: float [n, d] of unit length.
        labels: int [n].
        alpha: the margin between squared distances.
        selection: `violating`, any of them, as davidsandberg/facenet chooses (after VGG Face), or
            `semi_hard`, only those farther than the positive, as FaceNet describes.
        seed: of the drawing.
    """
    random = np.random.default_rng(seed)
    distances = np.maximum(2 - 2 * (embeddings @ embeddings.T), 0)
    found = [np.empty((0, 3), np.int64)]
    for anchor in range(len(labels)):
        others = labels != labels[anchor]
        positives = np.flatnonzero(~others)
        positives = positives[positives > anchor]
        to_positive = distances[anchor, positives][:, None]
        fits = others & (distances[anchor] - to_positive < alpha)
        if selection == "semi_hard":
            fits &= to_positive < distances[anchor]
        counts = fits.sum(axis=1)
        # The k-th that fits, k drawn for each positive whether or not there is any.
        k = np.floor(random.random(len(positives)) * counts).astype(int)
        negatives = np.argmax(np.cumsum(fits, axis=1) > k[:, None], axis=1)
        some = counts > 0
        chosen = [np.full(some.sum(), anchor), positives[some], negatives[some]]
        found.append(np.stack(chosen, axis=1))
    return random.permutation(np.concatenate(found))
