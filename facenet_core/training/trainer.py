"""The state of a training under way, and what moves it on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from facenet_core.config import TrainConfig
from facenet_core.errors import TrainingError
from facenet_core.models import registry
from facenet_core.training import checkpoints, inputs, optimizers, samplers
from facenet_core.training.augmentation import central_placements, draw_placements
from facenet_core.training.checkpoints import Checkpoint
from facenet_core.training.inputs import CropFile
from facenet_core.training.learner import Batch, Figures, Learner
from facenet_core.training.schedules import Schedule
from facenet_core.training.selection import Selection

# Steps between two looks at the figures: looking makes the host wait for the device.
WINDOW = 10


@dataclass(frozen=True)
class Data:
    """The crops, who is on them, and their size (height, width) in pixels."""

    crops: CropFile
    selection: Selection
    crop_size: tuple[int, int]


class Trainer:
    """A training between its first and last step.

    What a step does follows from the seed, its number and `state`; nothing else is remembered.

    Attributes:
        network: what is trained, as it will be saved; `learner` holds the weights until then.
        step: steps done, of `steps`; `epochs` of `epoch_steps` each.
        history: a row for each epoch done, see `history.HISTORY`.
        latest: mean figures of the last window; empty before the first.
    """

    def __init__(self, data: Data, schedule: Schedule, config: TrainConfig) -> None:
        self.data, self.schedule, self.config = data, schedule, config
        nrof_rows = len(data.selection.training)
        self.epoch_steps = samplers.steps_per_epoch(config.epoch_size, config.batch_size, nrof_rows)
        self.epochs = schedule.epochs(config.max_nrof_epochs)
        self.steps = self.epochs * self.epoch_steps
        self.network = registry.build(
            config.model_def,
            image_size=config.image_size,
            embedding_size=config.embedding_size,
            keep_probability=config.keep_probability,
            weight_decay=config.weight_decay,
            batch_norm_decay=config.batch_norm_decay,
            seed=config.seed,
        )
        self.learner = Learner(self.network, len(data.selection.identities), config)
        self.optimizer = optimizers.build(config.optimizer, self.learning_rate(1))
        self.optimizer.build(self.learner.trainable_variables)
        # XLA under TensorFlow makes steps slower on a CPU and refuses some repeatable kernels.
        self.learner.compile(self.optimizer, jit_compile=keras.backend.backend() == "jax")
        self.variables = [*self.learner.variables, *self.optimizer.variables]
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.latest: dict[str, float] = {}
        self.speed = Speedometer()
        self._sums = Figures()

    @property
    def epoch(self) -> int:
        """The epoch, from 1, of the last step done, or of the first one."""
        return max(self.step - 1, 0) // self.epoch_steps + 1

    @property
    def ends_epoch(self) -> bool:
        return self.step % self.epoch_steps == 0

    @property
    def ends_window(self) -> bool:
        return self.ends_epoch or self.step % WINDOW == 0

    def learning_rate(self, epoch: int) -> float:
        rate = self.schedule.rate(epoch)
        if rate is None:
            raise ValueError(f"epoch {epoch} is after the end of the schedule")
        return rate

    def batches(self) -> Iterator[tuple[Batch, np.ndarray]]:
        """The batches of the steps that are left, decoded ahead; close it to end the threads."""
        threads = inputs.decoding_threads(self.config.nrof_preprocess_threads)
        return inputs.ahead(self._training_batch, range(self.step, self.steps), threads)

    def advance(self, batch: Batch, labels: np.ndarray) -> None:
        """Train one step.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        if self.ends_epoch:
            self.optimizer.learning_rate = self.learning_rate(self.step // self.epoch_steps + 1)
            self.speed = Speedometer()
            self._sums = Figures()
        self.learner.train_on_batch(batch, labels, return_dict=True)
        self.step += 1
        if self.ends_window:
            figures = self.learner.take_figures()
            if not figures.finite():
                raise TrainingError(
                    f"the loss is not finite at step {self.step} (epoch {self.epoch}): training "
                    "diverged. Lower the learning rate first; center_loss_factor and weight_decay "
                    "come next, and few images a batch make batch norm unsteady"
                )
            self._sums += figures
            self.latest = figures.means()
        self.speed.lap(len(labels))

    def end_epoch(self) -> dict[str, Any]:
        """Validate on what is held out, and add the epoch's row to the history."""
        validation = self._validate()
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "learning_rate": self.learning_rate(self.epoch),
            **self._sums.means(),
            "validation_loss": validation["cross_entropy"] if validation else None,
            "validation_accuracy": validation["accuracy"] if validation else None,
            "images": self.step * self.config.batch_size,
            "images_per_second": self.speed.rate,
        }
        self.history.append(row)
        return row

    def checkpoint(self) -> Checkpoint:
        record = {"sums": self._sums.values(), "latest": self.latest, "history": self.history}
        return Checkpoint(self.step, checkpoints.values(self.variables), record)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from here as if training had never stopped."""
        for variable, value in zip(self.variables, checkpoint.arrays, strict=True):
            variable.assign(value)
        self.step = checkpoint.step
        self.history = list(checkpoint.record["history"])
        self.latest = dict(checkpoint.record["latest"])
        self._sums = Figures(*checkpoint.record["sums"])

    def trained_network(self) -> keras.Model:
        """The network with the weights to keep: averaged ones where averages were asked for."""
        self.network.set_weights(self.learner.trained_weights())
        return self.network

    def _training_batch(self, step: int) -> tuple[Batch, np.ndarray]:
        config, data = self.config, self.data
        training = data.selection.training
        rows = training[samplers.rows_of_step(config.seed, step, config.batch_size, len(training))]
        placements = draw_placements(
            config.seed,
            step,
            config.batch_size,
            data.crop_size,
            config.image_size,
            random_crop=config.random_crop,
            random_flip=config.random_flip,
        )
        return self._batch(rows, placements)

    def _batch(self, rows: np.ndarray, placements: np.ndarray) -> tuple[Batch, np.ndarray]:
        images = self.data.crops.decode_rows(rows, self.data.crop_size)
        return {"images": images, "placements": placements}, self.data.selection.labels[rows]

    def _validate(self) -> dict[str, float]:
        """Mean figures of the held-out images, cut to their centres; empty without any."""
        rows, size = self.data.selection.validation, self.config.batch_size
        if not len(rows):
            return {}
        placements = central_placements(size, self.data.crop_size, self.config.image_size)

        def load(start: int) -> tuple[Batch, np.ndarray, np.ndarray]:
            # All batches have one shape; what fills the last one weighs nothing.
            places = np.arange(start, start + size)
            weight = (places < len(rows)).astype(np.float32)
            return *self._batch(rows[places % len(rows)], placements), weight

        threads = inputs.decoding_threads(self.config.nrof_preprocess_threads)
        sums = Figures()
        for batch, labels, weight in inputs.ahead(load, range(0, len(rows), size), threads):
            self.learner.test_on_batch(batch, labels, weight, return_dict=True)
            sums += self.learner.take_figures()
        return sums.means()


class Speedometer:
    """Images a second, of laps that follow one another; the first and those after a pause, where
    programs are compiled and files written, do not count."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._images = 0
        self._since: float | None = None

    def lap(self, images: int) -> None:
        now = time.perf_counter()
        if self._since is not None:
            self._seconds += now - self._since
            self._images += images
        self._since = now

    def pause(self) -> None:
        self._since = None

    @property
    def rate(self) -> float | None:
        return self._images / self._seconds if self._seconds else None
