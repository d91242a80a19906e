"""Which rows make which batch: functions of seed and step, so that resuming needs no state.

Training reads an endless stream: one pass after another, each in an order of its own. Batches are
cut from it without regard to where a pass ends, so all have the same size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows by class.

    Attributes:
        rows: int64 [n], those of class 0 first, then of class 1 …
        starts: int64 [classes + 1], where each class begins, and n.
    """

    rows: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray, nrof_classes: int) -> Self:
        """From rows int [n] and their labels int [n]."""
        sizes = np.bincount(labels, minlength=nrof_classes)
        order = np.argsort(labels, kind="stable")
        return cls(np.asarray(rows)[order], np.concatenate([[0], np.cumsum(sizes)]))

    @property
    def nrof_classes(self) -> int:
        return len(self.starts) - 1

    def of_class(self, label: int) -> np.ndarray:
        return self.rows[self.starts[label] : self.starts[label + 1]]


def rows_of_step(seed: int, step: int, batch_size: int, nrof_rows: int) -> np.ndarray:
    """Row numbers int64 [batch_size] of a step, counted from 0; each below `nrof_rows`.

    Every row is used once before any is used again. A batch larger than the data takes rows from
    several passes.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    passes = places // nrof_rows
    rows = np.empty(batch_size, np.int64)
    for number in np.unique(passes):
        of_pass = passes == number
        rows[of_pass] = _order(seed, int(number), nrof_rows)[places[of_pass] % nrof_rows]
    return rows


def balanced_rows_of_step(seed: int, step: int, batch_size: int, groups: Groups) -> np.ndarray:
    """Rows int64 [batch_size] of a step in which every class is as frequent as every other.

    A pass shows each class once, in an order of its own, and each time the next image of the
    class, all of them before any again.
    """
    rows = np.empty(batch_size, np.int64)
    for i, place in enumerate(range(step * batch_size, (step + 1) * batch_size)):
        number, turn = divmod(place, groups.nrof_classes)
        label = int(_order(seed, number, groups.nrof_classes)[turn])
        own = groups.of_class(label)
        round_of_class, image = divmod(number, len(own))
        order = np.random.default_rng([seed, label, round_of_class, 2]).permutation(len(own))
        rows[i] = own[order[image]]
    return rows


def people_of_round(
    seed: int, number: int, people: int, images_per_person: int, groups: Groups
) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 [n] and labels int64 [n] among which the triplets of a round are chosen.

    As in davidsandberg/facenet, people are taken in a random order, with `images_per_person`
    random images of each or all that there are, until there are people · images_per_person images;
    small classes therefore make it more people.
    """
    random = np.random.default_rng([seed, number, 3])
    room = people * images_per_person
    rows: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for label in random.permutation(groups.nrof_classes):
        own = random.permutation(groups.of_class(int(label)))[: min(images_per_person, room)]
        rows.append(own)
        labels.append(np.full(len(own), label))
        room -= len(own)
        if room == 0:
            break
    return np.concatenate(rows), np.concatenate(labels)


def steps_per_epoch(epoch_size: int | None, batch_size: int, nrof_rows: int) -> int:
    """`epoch_size`, or as many batches as cover all rows once."""
    return epoch_size if epoch_size is not None else math.ceil(nrof_rows / batch_size)


# A few passes, because a batch may end one and begin the next, and threads work side by side.
@lru_cache(maxsize=8)
def _order(seed: int, number: int, length: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(length)
