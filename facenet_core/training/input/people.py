"""Who is trained on: people with enough images, their labels, and what is held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facenet_core.errors import TrainingError


@dataclass(frozen=True)
class Selection:
    """The rows of a data set that training and validation use.

    Attributes:
        identities: the people, sorted; a label is an index into this.
        labels: int32 [rows of the data set]; −1 for images and people left out.
        training, validation: row numbers int64, growing.
    """

    identities: tuple[str, ...]
    labels: np.ndarray
    training: np.ndarray
    validation: np.ndarray


def select(
    identities: Sequence[str],
    identity_of_row: np.ndarray,
    *,
    filter_min_nrof_images_per_class: int,
    validation_set_split_ratio: float,
    min_nrof_val_images_per_class: int,
    seed: int,
    near: np.ndarray | None = None,
) -> Selection:
    """Leave out people with few images, give the others labels, hold images of each out.

    Of a person with n images, ⌈n · validation_set_split_ratio⌉ drawn by the seed are held out, but
    never the last one, and none of people with fewer than `min_nrof_val_images_per_class`.

    Args:
        identities: names, in any order.
        identity_of_row: int [rows], index into `identities`.
        near: bool [rows], images that are near enough to their person's centre; default: all.

    Raises:
        TrainingError: fewer than two people are left.
    """
    usable = np.ones(len(identity_of_row), bool) if near is None else near
    sizes = np.bincount(identity_of_row[usable], minlength=len(identities))
    least = max(filter_min_nrof_images_per_class, 1)
    kept = [i for i, n in enumerate(sizes) if n >= least]
    kept.sort(key=lambda i: identities[i])
    if len(kept) < 2:
        raise TrainingError(
            f"{len(kept)} of {len(identities)} identities have {least} images or more "
            "(filter_min_nrof_images_per_class); to tell people apart takes two at least: add "
            "people, or ask for fewer images of each"
        )
    label_of = np.full(len(identities), -1, np.int32)
    label_of[kept] = np.arange(len(kept), dtype=np.int32)
    labels = np.where(usable, label_of[identity_of_row], -1).astype(np.int32)
    held_out = _held_out(labels, validation_set_split_ratio, min_nrof_val_images_per_class, seed)
    return Selection(
        tuple(identities[i] for i in kept),
        labels,
        np.flatnonzero((labels >= 0) & ~held_out),
        np.flatnonzero(held_out),
    )


def _held_out(labels: np.ndarray, ratio: float, least: int, seed: int) -> np.ndarray:
    """Bool [rows]: the images of each person that come first in a random order."""
    result = np.zeros(len(labels), bool)
    if ratio == 0:
        return result
    order = np.lexsort([np.random.default_rng(seed).random(len(labels)), labels])
    order = order[labels[order] >= 0]
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        n = int(end - start)
        if n < least:
            continue
        # Rounded first: 10 · 0.3 is a little more than 3.
        count = min(n - 1, math.ceil(round(n * ratio, 9)))
        result[order[start : start + count]] = True
    return result
