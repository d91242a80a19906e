"""The state of a training under way, and what moves it on."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from facenet_core.config import TrainConfig
from facenet_core.errors import TrainingError
from facenet_core.models.networks import registry
from facenet_core.prefetch import ahead
from facenet_core.training import (
    augmentation,
    losses,
    optimizers,
    resume,
)
from facenet_core.training.checkpoints import Checkpoint, Shape
from facenet_core.training.diagnostics import advice
from facenet_core.training.engine import devices, distribution
from facenet_core.training.input import batches, crops, order
from facenet_core.training.input.batches import Data
from facenet_core.training.pairs_callback import Monitor
from facenet_core.training.schedules import Rates, Schedule
from facenet_core.training.step import Batch, Metrics, TrainStep, reported_means

# Steps between two looks at the metrics: looking makes the host wait for the device.
WINDOW = 10


class Trainer:
    """A training between its first and last step.

    What a step does follows from the seed, its number and `state`; nothing else is remembered.

    Attributes:
        step: steps done, of `steps`; `epochs` of `epoch_steps` each.
        history: a row for each epoch done, see `history.HISTORY`.
        latest: mean metrics of the last window; empty before the first.
        sample: the last batch, this rank's part of it.
    """

    def __init__(
        self,
        data: Data,
        schedule: Schedule,
        config: TrainConfig,
    ) -> None:
        self.data, self.config = data, config
        nrof_rows = len(data.selection.training)
        self.epoch_steps = order.steps_per_epoch(config.epoch_size, config.batch_size, nrof_rows)
        self.epochs = schedule.epochs(config.max_nrof_epochs)
        self.steps = self.epochs * self.epoch_steps
        self.rates = Rates(
            schedule,
            self.epoch_steps,
            self.epochs,
            cosine=config.learning_rate_cosine,
            warmup_epochs=config.warmup_epochs,
            decay_epochs=config.learning_rate_decay_epochs,
            decay_factor=config.learning_rate_decay_factor,
        )
        with distribution.own_devices():
            network = _build_network(config)
        nrof_people, teacher_size = len(data.selection.identities), data.teacher_size
        self.train_step = TrainStep(network, nrof_people, config, teacher_size)
        self.optimizer = _build_optimizer(config, self.rates.at(0))
        self.optimizer.build(self.train_step.trainable_variables)
        # XLA under TensorFlow makes steps slower on a CPU and refuses some repeatable kernels.
        self.train_step.compile(self.optimizer, jit_compile=keras.backend.backend() == "jax")
        self.train_step.sample_classes(self.optimizer)
        self.variables = self.train_step.lasting(
            [*self.train_step.variables, *self.optimizer.variables]
        )
        self.feed = batches.build(data, config, self.train_step)
        self.monitor = Monitor(config, network) if config.lfw_dir is not None else None
        # Unless somebody uses it, its weights would only lie beside the train_step's until the end.
        self._network = network if self.monitor is not None else None
        del network
        gc.collect()  # layers refer to one another
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.latest: dict[str, float | None] = {}
        self.sample: Batch | None = None
        self.speed = Speedometer()
        self._sums = Metrics()
        self._rate: float | None = None  # as the optimizer was told
        self._inherited = 0  # epochs of a model that this one goes on from

    @property
    def shapes(self) -> list[Shape]:
        """Of the variables, as checkpoints have them: whoever shares the training."""
        nrof_classes = self.train_step.nrof_classes
        return [distribution.whole_shape(variable, nrof_classes) for variable in self.variables]

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

    @property
    def learning_rate(self) -> float:
        """That of the last step done, or of the first one."""
        return self.rates.at(max(self.step - 1, 0))

    @property
    def own_history(self) -> list[dict[str, Any]]:
        return self.history[self._inherited :]

    @property
    def stopped_early(self) -> bool:
        config = self.config
        return exhausted(self.own_history, config.monitor, config.early_stop)

    @property
    def best_step(self) -> int | None:
        """The step after which the monitored figure was best; None where it is not measured."""
        row = best_row(self.own_history, self.config.monitor)
        return None if row is None else int(row["step"])

    def batches(self) -> Generator[tuple[Batch, np.ndarray], None, None]:
        """The batches of the steps that are left, decoded ahead; close it to end the threads."""
        if not self.stopped_early:
            yield from self.feed.batches(self.step, self.steps)

    def advance(self, batch: Batch, labels: np.ndarray) -> None:
        """Train one step.

        Raises:
            TrainingError: the loss is no longer finite, or the device refuses.
        """
        if self.ends_epoch:
            self.speed = Speedometer()
            self._sums = Metrics()
        rate = self.rates.at(self.step)
        if rate != self._rate:
            self.train_step.write(self.optimizer.learning_rate, rate)
            self._rate = rate
        with devices.explained():
            self.train_step.train_on_batch(batch, labels, return_dict=True)
        if self.sample is None:  # the first step here, for which the program was built
            devices.settle()
        self.step += 1
        self.sample = batch
        if self.ends_window:
            self._look()
        self.speed.lap(self.config.batch_size)

    def _look(self) -> None:
        metrics = self.train_step.pop_metrics()
        self._stop_where_broken("the loss is", metrics.not_finite())
        self._sums += metrics
        self.latest = reported_means(metrics.means(), self.config)

    def _require_finite(self) -> None:
        """See that the last update left numbers: its loss was taken before it."""
        self.train_step.sync_to_variables()
        self._stop_where_broken("weights are", distribution.not_finite(self.train_step.variables))
        embeddings = self.train_step.embed(self._some_batch())
        # Prelogits too large for their length to be a number give embeddings of zeros.
        if not (np.isfinite(embeddings).all() and embeddings.any(axis=1).all()):
            self._stop_where_broken("embeddings are", ["prelogits"])

    def _stop_where_broken(self, subject: str, broken: Sequence[str]) -> None:
        if broken:
            names = [*broken[:3], *(["…"] if len(broken) > 3 else [])]
            raise TrainingError(
                f"{subject} not finite at step {self.step} (epoch {self.epoch}): "
                + advice(names, self.data.selection, self.config)
            )

    def end_epoch(self) -> dict[str, Any]:
        """Validate and measure where it is time to, and add the epoch's row to the history.

        Raises:
            TrainingError: there was no step, as there was nothing to learn from, or weights or
                embeddings are no longer finite.
        """
        if not self.step:
            raise TrainingError(
                "no triplet to train on: every negative is farther than its positive by alpha = "
                f"{self.config.alpha:g}, or no person has two images; set a larger alpha, or check "
                "the identities"
            )
        if not self.ends_window:
            self._look()
        self._require_finite()
        validation = self._validate() if self._due(self.config.validate_every_n_epochs) else {}
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "learning_rate": self.learning_rate,
            **reported_means(self._sums.means(), self.config),
            "validation_loss": validation.get("cross_entropy"),
            "validation_accuracy": validation.get("accuracy"),
            **(self._measure() if self._due(self.config.lfw_every_n_epochs) else NOT_MEASURED),
            "images": self.step * self.config.batch_size,
            "images_per_second": self.speed.rate,
        }
        self.history.append(row)
        return row

    def checkpoint(self) -> Checkpoint:
        """Of now: its arrays are to be read before the next step, by every rank."""
        self.train_step.sync_to_variables()
        feed, extra = self.feed.state()
        record = {
            "sums": self._sums.values(),
            "latest": self.latest,
            "history": self.history,
            "inherited": self._inherited,
            "feed": feed,
        }
        nrof_classes = self.train_step.nrof_classes
        arrays = (distribution.whole(variable, nrof_classes) for variable in self.variables)
        return Checkpoint(self.step, arrays, record, extra)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from here as if training had never stopped."""
        self._assign(checkpoint)
        self.step = checkpoint.step
        self.history = list(checkpoint.record["history"])
        self.latest = dict(checkpoint.record["latest"])
        self._sums = Metrics(*checkpoint.record["sums"])
        self._inherited = checkpoint.record["inherited"]
        self.feed.restore(checkpoint.record["feed"], checkpoint.extra)

    def inherit(self, checkpoint: Checkpoint) -> None:
        """Go on from the last step of another model's training.

        Raises:
            TrainingError: its epochs had another length.
        """
        self.restore(checkpoint)
        last = self.history[-1]
        if last["step"] != last["epoch"] * self.epoch_steps:
            raise TrainingError(
                f"resume: epoch {last['epoch']} ended at step {last['step']:,}, with epochs of "
                f"{self.epoch_steps:,} steps as asked for here it ends at "
                f"{last['epoch'] * self.epoch_steps:,}; leave epoch_size, batch_size and the data "
                "as they were"
            )
        self._inherited = len(self.history)

    def take_back_to(self, checkpoint: Checkpoint) -> None:
        """Give the train_step the weights it had then; step and history stay."""
        self._assign(checkpoint)

    def weights(self) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """The weights to keep and, where those are moving averages, the raw ones beside them.

        In the order of `keras.Model.weights`. The averages are brought up to date and take the
        place of the train_step's weights, so ask for them once at the end.

        Raises:
            TrainingError: they, or embeddings by them, are not finite.
        """
        self._require_finite()
        raw = self.train_step.network.get_weights()
        averaged = self.train_step.averaged_weights()
        if averaged is not None:
            self.train_step.network.set_weights(averaged)
            self._require_finite()
        return (raw, None) if averaged is None else (averaged, raw)

    def network(self) -> keras.Model:
        """The network as it is saved, for the weights of `weights`."""
        if self._network is not None:
            return self._network
        with distribution.own_devices():
            return _build_network(self.config, start=False)

    def gradient_norms(self) -> np.ndarray:
        """Of the last step: float32 [trainable variables], in the train_step's order."""
        return self.train_step.value(optimizers.gradient_norms(self.optimizer))

    def look_closer(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the last batch: images uint8 [≤ 8, s, s, 3] as augmented, embeddings [n, d]."""
        assert self.sample is not None
        few = {name: values[:8] for name, values in self.sample.items()}
        shape = augmentation.Augmentation.of(self.config)
        altered = keras.ops.convert_to_numpy(augmentation.alter(few["images"], few["drawn"], shape))
        return altered.astype(np.uint8), self.train_step.embed(self.sample)

    def _assign(self, checkpoint: Checkpoint) -> None:
        self.train_step.sync_to_variables()
        for variable, value in zip(self.variables, checkpoint.arrays, strict=True):
            distribution.set_whole(variable, value)

    def _due(self, every: int) -> bool:
        return self.epoch % every == 0 or self.step == self.steps

    def _measure(self) -> dict[str, float | None]:
        if self.monitor is None:
            return NOT_MEASURED
        self.train_step.sync_to_variables()
        # By one rank, as the others could stop at another epoch if theirs came out differently.
        return distribution.agreed(self._measured(self.monitor) if self.data.rank.leads else None)

    def _measured(self, monitor: Monitor) -> dict[str, float | None]:
        raw = self.train_step.network.get_weights()
        if self.train_step.average is None:
            return {**NOT_MEASURED, **monitor.measure(raw)}
        averaged = monitor.measure(self.train_step.average.values())
        return {**averaged, "lfw_accuracy_raw": monitor.measure(raw)["lfw_accuracy"]}

    def _central(self) -> np.ndarray:
        """What `augmentation` draws for a batch of crops that are cut to their centres."""
        size = self.config.batch_size
        return augmentation.central(self.train_step.augmentation, size, self.data.crop_size)

    def _some_batch(self) -> Batch:
        """The last batch; where no step was taken here, one of crops cut to their centres."""
        if self.sample is not None:
            return self.sample
        rows = np.resize(self.data.selection.training, self.config.batch_size)
        return self.data.batch(rows, self._central())[0]

    def _validate(self) -> dict[str, float]:
        """Mean metrics of the held-out images, cut to their centres; empty without any."""
        rows, size = self.data.selection.validation, self.config.batch_size
        if not len(rows):
            return {}
        drawn = self._central()

        def load(start: int) -> tuple[Batch, np.ndarray, np.ndarray]:
            # All batches have one shape; what fills the last one weighs nothing.
            places = np.arange(start, start + size)
            weight = (places < len(rows)).astype(np.float32)
            batch, labels = self.data.batch(rows[places % len(rows)], drawn)
            return batch, labels, weight[self.data.rank.own(size)]

        threads = crops.decoding_threads(self.config.nrof_preprocess_threads)
        sums = Metrics()
        for batch, labels, weight in ahead(load, range(0, len(rows), size), threads):
            self.train_step.test_on_batch(batch, labels, weight, return_dict=True)
            sums += self.train_step.pop_metrics()
        return sums.means()


NOT_MEASURED: dict[str, float | None] = dict.fromkeys(
    ("lfw_accuracy", "lfw_val_rate", "lfw_auc", "lfw_accuracy_raw")
)


def _build_network(config: TrainConfig, start: bool = True) -> keras.Model:
    """The network, if it is to `start` from a pretrained model with the weights of that."""
    network = registry.build(
        config.model_def,
        image_size=config.image_size,
        embedding_size=config.embedding_size,
        keep_probability=config.keep_probability,
        weight_decay=losses.penalty(config),
        batch_norm_decay=config.batch_norm_decay,
        seed=config.seed,
    )
    if start and config.pretrained_model is not None:
        resume.copy_weights(network, config.pretrained_model)
    resume.freeze(network, config.freeze)
    return network


def _build_optimizer(config: TrainConfig, rate: float) -> keras.optimizers.Optimizer:
    optimizer = optimizers.build(config.optimizer, rate, config.weight_decay)
    if config.mixed_precision != "float16":  # else small gradients would be zero
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


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


Row = Mapping[str, Any]


def best_row(history: Sequence[Row], monitor: str) -> Row | None:
    """The row with the highest figure, the first of equals; None where it was never measured."""
    measured = [row for row in history if row[monitor] is not None]
    return max(measured, key=lambda row: row[monitor], default=None)


def exhausted(history: Sequence[Row], monitor: str, patience: int | None) -> bool:
    """Whether the last `patience` measurements brought nothing better."""
    best = best_row(history, monitor)
    if best is None or patience is None:
        return False
    later = [r for r in history if r[monitor] is not None and r["epoch"] > best["epoch"]]
    return len(later) >= patience
