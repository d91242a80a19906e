"""What each step is trained on: batches decoded ahead, for classifiers and for triplets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Protocol

import numpy as np

from facenet_core.config import TrainConfig
from facenet_core.prefetch import ahead
from facenet_core.training import augmentation, losses
from facenet_core.training.augmentation import Augmentation
from facenet_core.training.input import crops as inputs
from facenet_core.training.input import order
from facenet_core.training.input.classes import ClassSample
from facenet_core.training.input.data import Data
from facenet_core.training.input.order import Groups, Interleaving
from facenet_core.training.input.stream import CropStream
from facenet_core.training.step import Batch, TrainStep

logger = logging.getLogger(__name__)

# Rounds without a triplet after which there is nothing left to learn from.
_EMPTY_ROUNDS = 10


class Feed(Protocol):
    """Batches of the steps from one on; what they depend on besides the seed is its state."""

    def batches(self, first: int, steps: int) -> Iterator[tuple[Batch, np.ndarray]]:
        """The batches of steps first … steps − 1; fewer where there is nothing left to learn."""
        ...

    def state(self) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        """What a checkpoint must hold: JSON values, and arrays."""
        ...

    def restore(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None: ...


class SeededFeed:
    """Batches for a classifier: functions of seed and step, so there is no state."""

    def __init__(self, data: Data, config: TrainConfig, sample: ClassSample | None) -> None:
        self._data, self._config, self._sample = data, config, sample
        self._augmentation = Augmentation.of(config)

    def batches(self, first: int, steps: int) -> Iterator[tuple[Batch, np.ndarray]]:
        threads = inputs.decoding_threads(self._config.nrof_preprocess_threads)
        return ahead(self._batch, range(first, steps), threads)

    def state(self) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        return {}, {}

    def restore(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        pass

    def _rows(self, step: int) -> np.ndarray:
        """Row numbers int64 [batch_size] of a step; any thread may ask."""
        raise NotImplementedError

    def _batch(self, step: int) -> tuple[Batch, np.ndarray]:
        rows = self._rows(step)
        seed, size = self._config.seed, self._config.batch_size
        drawn = augmentation.draw(self._augmentation, seed, step, size, self._data.crop_size)
        batch, labels = self._data.batch(rows, drawn)
        if self._sample is not None:
            classes, places = self._sample.of_step(step, self._data.selection.labels[rows])
            rank = self._data.rank
            batch |= {
                "classes": classes[rank.own(len(classes))],
                "places": places[rank.own(size)],
            }
        return batch, labels


class ClassFeed(SeededFeed):
    """From crops that can be read in any order."""

    def __init__(self, data: Data, config: TrainConfig, sample: ClassSample | None = None) -> None:
        super().__init__(data, config, sample)
        self._groups = _groups(data)

    def _rows(self, step: int) -> np.ndarray:
        seed, size = self._config.seed, self._config.batch_size
        if self._config.sampler == "balanced":
            return order.balanced_rows_of_step(seed, step, size, self._groups)
        training = self._data.selection.training
        return training[order.rows_of_step(seed, step, size, len(training))]


class StreamFeed(SeededFeed):
    """From crops that are not copied."""

    def __init__(self, data: Data, config: TrainConfig, sample: ClassSample | None = None) -> None:
        super().__init__(data, config, sample)
        assert isinstance(data.crops, CropStream)
        self._crops = data.crops
        training, crops = data.selection.training, self._crops
        self._order = Interleaving(
            config.seed,
            np.split(training, np.searchsorted(training, crops.starts[1:-1])),
            np.array([group.part for group in crops.groups]),
            np.array([group.bytes for group in crops.groups]),
        )
        self._crops.keep(2 * self._order.largest_window())

    def _rows(self, step: int) -> np.ndarray:
        size = self._config.batch_size
        self._crops.expect(self._order.groups_by_step(step, size))
        return self._order.rows_of_step(step, size)


class TripletFeed:
    """Batches of triplets, chosen in rounds as davidsandberg/facenet does.

    A round embeds `people_per_batch` · `images_per_person` images with the network as it is, picks
    triplets among them, and gives them in batches of `batch_size` images; the last batch is filled
    up from the first. Which triplets a round picked is state, as weights have moved on since.
    """

    def __init__(self, data: Data, config: TrainConfig, train_step: TrainStep) -> None:
        self._data, self._config, self._train_step = data, config, train_step
        self._augmentation = Augmentation.of(config)
        self._groups = _groups(data)
        self._threads = inputs.decoding_threads(config.nrof_preprocess_threads)
        self._round = 0  # rounds begun
        self._done = 0  # batches of this round that were given
        self._rows = np.empty((0, config.batch_size), np.int64)  # of the round's batches

    def batches(self, first: int, steps: int) -> Iterator[tuple[Batch, np.ndarray]]:
        step = first
        while step < steps:
            if self._done == len(self._rows) and not self._next_round():
                return
            left = self._rows[self._done : self._done + steps - step]
            start = step

            def load(number: int, left: np.ndarray = left, start: int = start) -> Any:
                return self._batch(start + number, left[number])

            with closing(ahead(load, range(len(left)), self._threads)) as loaded:
                for batch in loaded:
                    self._done += 1
                    step += 1
                    yield batch

    def state(self) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        return {"round": self._round, "done": self._done}, {"rows": self._rows}

    def restore(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._round, self._done, self._rows = record["round"], record["done"], arrays["rows"]

    def _next_round(self) -> bool:
        """Choose the triplets of a round; false where ten rounds on end had none."""
        begun = self._round
        for _ in range(_EMPTY_ROUNDS):
            rows, labels = order.people_of_round(
                self._config.seed,
                self._round,
                self._config.people_per_batch,
                self._config.images_per_person,
                self._groups,
            )
            triplets = losses.select_triplets(
                self._embed(rows),
                labels,
                self._config.alpha,
                self._config.triplet_selection,
                [self._config.seed, self._round, 4],
            )
            self._round += 1
            self._done = 0
            if len(triplets):
                size = self._config.batch_size
                nrof_batches = -(-triplets.size // size)
                self._rows = np.resize(rows[triplets].ravel(), (nrof_batches, size))
                return True
        self._round, self._done = begun, len(self._rows)  # asked again, the answer is the same
        logger.warning(
            "no triplet within alpha %g in %d rounds: training ends here",
            self._config.alpha,
            _EMPTY_ROUNDS,
        )
        return False

    def _embed(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings [n, d] of the centres of crops, a batch at a time."""
        size = self._config.batch_size
        drawn = augmentation.central(self._augmentation, size, self._data.crop_size)

        def load(start: int) -> Batch:
            # All batches have one shape, so that one program serves them all.
            part = np.resize(rows[start : start + size], size)
            return self._data.batch(part, drawn)[0]

        batches = ahead(load, range(0, len(rows), size), self._threads)
        return np.concatenate([self._train_step.embed(batch) for batch in batches])[: len(rows)]

    def _batch(self, step: int, rows: np.ndarray) -> tuple[Batch, np.ndarray]:
        seed, size = self._config.seed, self._config.batch_size
        drawn = augmentation.draw(self._augmentation, seed, step, size, self._data.crop_size)
        return self._data.batch(rows, drawn)


def build(data: Data, config: TrainConfig, train_step: TrainStep) -> Feed:
    """The feed of a configuration's loss, and of how crops are read."""
    if config.loss == "triplet":
        return TripletFeed(data, config, train_step)
    if isinstance(data.crops, CropStream):
        return StreamFeed(data, config, train_step.class_sample)
    return ClassFeed(data, config, train_step.class_sample)


def _groups(data: Data) -> Groups:
    """The rows to train on by who is on them."""
    selection = data.selection
    return Groups.of(
        selection.training, selection.labels[selection.training], len(selection.identities)
    )
