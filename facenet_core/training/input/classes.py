"""Which classes take part in a step of a sampled classifier: a function of seed and step.

The classes are the same however many devices divide them; only their places differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# What is drawn from the seed, besides the numbers of `order` and `augmentation`.
_CLASSES = 7
# Deviations of the number drawn for which there is room.
_ROOM = 8


def rows_of_shard(nrof_classes: int, shards: int) -> int:
    """How many classes each shard has room for: all shards for equally many."""
    return -(-nrof_classes // shards)


@dataclass(frozen=True)
class ClassSample:
    """The classes of the images of a batch, and each other one with probability `rate`.

    Attributes:
        nrof_classes: all of them, divided among `shards` in order.
        rate: of `classifier_sample_rate`.
        batch_size: images of the whole batch.
    """

    nrof_classes: int
    rate: float
    batch_size: int
    seed: int
    shards: int = 1

    @property
    def rows_of_shard(self) -> int:
        return rows_of_shard(self.nrof_classes, self.shards)

    @property
    def places_of_shard(self) -> int:
        """Room for the classes drawn of a shard, and for all of the batch."""
        mean = self.rate * self.rows_of_shard
        room = math.ceil(mean + _ROOM * math.sqrt(mean)) + self.batch_size
        return min(room, self.rows_of_shard)

    @property
    def places(self) -> int:
        return self.shards * self.places_of_shard

    def of_step(self, step: int, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The classes of a step, by place, and the place of each image's class.

        Args:
            labels: int [n] of the whole batch.

        Returns:
            Int32 [places], rows of the shard of each place, `rows_of_shard` where it is empty, and
            int32 [n].
        """
        random = np.random.default_rng([self.seed, step, _CLASSES])
        drawn = random.random(self.nrof_classes, np.float32) < self.rate
        own = np.unique(labels)
        drawn[own] = False
        others = np.flatnonzero(drawn)
        rows, room = self.rows_of_shard, self.places_of_shard
        classes = np.full((self.shards, room), rows, np.int32)
        bounds = np.arange(self.shards + 1) * rows
        own_starts = np.searchsorted(own, bounds)
        other_starts = np.searchsorted(others, bounds)
        for shard in range(self.shards):
            first = own[own_starts[shard] : own_starts[shard + 1]]
            rest = others[other_starts[shard] : other_starts[shard + 1]][: room - len(first)]
            taken = np.concatenate([first, rest])
            classes[shard, : len(taken)] = taken - shard * rows
        shard_of_label = labels // rows
        places = np.searchsorted(own, labels) - own_starts[shard_of_label] + shard_of_label * room
        return classes.ravel(), places.astype(np.int32)
