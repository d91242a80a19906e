"""The network with its classifier, centers and losses: everything one training step touches.

Keras takes the gradient in its own `Model.train_step`, which `train_on_batch` runs: it calls our
`TrainStep.call` for prelogits and outputs, then `TrainStep.compute_loss` for the loss, takes the
gradient of that, and has the optimizer (`optimizers.py`) apply it.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import Any

import keras
import numpy as np
from keras import ops

from facenet_core.config import TrainConfig
from facenet_core.models.preprocessing import Tensor
from facenet_core.training import augmentation, losses
from facenet_core.training.augmentation import Augmentation
from facenet_core.training.engine import distribution
from facenet_core.training.engine.fused import training_copy
from facenet_core.training.engine.jax_steps import JaxSteps
from facenet_core.training.engine.moving_average import MovingAverage


@dataclass(frozen=True)
class Metrics:
    """Sums over images.

    `loss` is the whole: cross-entropy or triplet loss + weight decay + λ · center loss + λ · the
    norm of prelogits + λ · the distance from the teacher. `accuracy` is the share of images that
    are told right or, of triplets, whose positive is nearer than the negative. `embedding_norm` is
    the length of prelogits.
    """

    images: float = 0.0
    loss: float = 0.0
    cross_entropy: float = 0.0
    triplet_loss: float = 0.0
    center_loss: float = 0.0
    prelogits_norm_loss: float = 0.0
    weight_decay: float = 0.0
    accuracy: float = 0.0
    embedding_norm: float = 0.0
    teacher_loss: float = 0.0

    def __add__(self, other: Metrics) -> Metrics:
        return Metrics(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        return astuple(self)

    def means(self) -> dict[str, float]:
        """Mean over the images of each figure but their number."""
        return {name: getattr(self, name) / self.images for name in METRIC_NAMES}

    def not_finite(self) -> list[str]:
        """Names of metrics that are infinite or no number."""
        return [name for name in METRIC_NAMES if not math.isfinite(getattr(self, name))]


METRIC_NAMES = tuple(field.name for field in fields(Metrics) if field.name != "images")
# Which of them a loss does not have.
_ABSENT = {
    "triplet": {"cross_entropy", "center_loss"},
    "none": {"cross_entropy", "center_loss", "triplet_loss", "accuracy"},
}


def reported_means(means: dict[str, float], config: TrainConfig) -> dict[str, float | None]:
    """Mean metrics with None for those that a training does not have."""
    absent = _ABSENT.get(config.loss, {"triplet_loss"})
    if config.teacher is None:
        absent = absent | {"teacher_loss"}
    return {name: None if name in absent else value for name, value in means.items()}


Batch = dict[str, np.ndarray]


class TrainStep(keras.Model):
    """Trained by `train_on_batch(batch, labels, return_dict=True)`, which returns nothing.

    A batch is {"images": uint8 [n, h, w, 3], "drawn": float32 [n, 8]}, see `augmentation`, and
    where there is a teacher {"teacher": float32 [n, d]}, its embeddings; labels int32 [n]. Metrics
    add up on the device until `pop_metrics`, so that steps do not wait for each other. Between
    steps variables are read by `value`, written by `write`, and anybody else's after
    `sync_to_variables`: under JAX they are empty until then.

    Built within `distribution.shared`, it trains on the devices of all ranks; each of them gives
    its own rows of a batch, of which the loss is that of the whole.
    """

    def __init__(
        self,
        network: keras.Model,
        nrof_classes: int,
        config: TrainConfig,
        teacher_size: int | None = None,
    ) -> None:
        super().__init__(name="learner")
        self.network = training_copy(network, config.mixed_precision)
        self.config = config
        self.augmentation = Augmentation.of(config)
        self.classifier = losses.build_classifier(nrof_classes, config)
        self.projection = losses.build_projection(teacher_size, config)
        # Without a center loss, nobody pays for the centers.
        self.centers = (
            self._zeros((nrof_classes, config.embedding_size), "centers")
            if config.center_loss_factor
            else None
        )
        self.average = (
            MovingAverage(config.moving_average_decay, self.network.weights)
            if config.moving_average_decay
            else None
        )
        # Without a teacher, checkpoints are those of the time before there were any.
        count = len(Metrics().values()) - (config.teacher is None)
        self.sums = self._zeros((count,), "sums")
        self._steps: JaxSteps | None = None
        self.built = True  # else Keras would build it of a batch

    def call(self, batch: Batch, training: bool = False) -> tuple[Tensor, Tensor]:
        """Prelogits [n, embedding_size], and the classifier's outputs [n, classes] of them.

        Where the loss needs no classifier, the prelogits twice.
        """
        inputs = augmentation.prepare(batch["images"], batch["drawn"], self.augmentation)
        prelogits = ops.cast(self.network(inputs, training=training), "float32")
        return prelogits, prelogits if self.classifier is None else self.classifier(prelogits)

    def train_on_batch(
        self, x: Tensor, y: Tensor = None, sample_weight: Tensor = None, **options: Any
    ) -> Tensor:
        if keras.backend.backend() != "jax":
            return super().train_on_batch(x, y, sample_weight, **options)
        self._steps = self._steps or JaxSteps(self)
        return self._steps.take((x, y, sample_weight))

    def test_on_batch(
        self, x: Tensor, y: Tensor = None, sample_weight: Tensor = None, **options: Any
    ) -> Tensor:
        self.sync_to_variables()
        return super().test_on_batch(x, y, sample_weight, **options)

    def predict_on_batch(self, x: Tensor) -> Tensor:
        self.sync_to_variables()
        return super().predict_on_batch(x)

    def value(self, variable: keras.Variable) -> np.ndarray:
        """That of a variable of this model or its optimizer, between steps."""
        return self._steps.value(variable) if self._steps else ops.convert_to_numpy(variable)

    def write(self, variable: keras.Variable, value: Any) -> None:
        """Give a variable of this model or its optimizer a value, between steps."""
        if self._steps:
            self._steps.write(variable, value)
        else:
            variable.assign(value)

    def sync_to_variables(self) -> None:
        """Let others read and write all variables, until the next step."""
        if self._steps:
            self._steps.sync_to_variables()

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The loss, a scalar; the metrics are added up, and while training the centers move.

        `sample_weight` is 0 for images that only fill a batch.
        """
        prelogits, outputs = y_pred
        weight = ops.ones_like(prelogits[:, 0]) if sample_weight is None else sample_weight
        images = ops.sum(weight)
        terms = self._terms_of_people(prelogits, outputs, y, weight / images)
        loss = terms.get("cross_entropy", 0.0) + terms.get("triplet_loss", 0.0)
        if self.config.teacher is not None:
            projected = prelogits if self.projection is None else self.projection(prelogits)
            per_image = losses.teacher_loss(projected, x["teacher"])
            terms["teacher_loss"] = ops.sum(weight * per_image) / images
            loss = loss + self.config.teacher_factor * terms["teacher_loss"]
        if decays := self.losses:
            terms["weight_decay"] = sum(decays)
            loss = loss + terms["weight_decay"]
        if training and self.centers is not None:
            terms["center_loss"] = losses.center_loss(prelogits, y, self.centers)
            loss = loss + self.config.center_loss_factor * terms["center_loss"]
            alfa = self.config.center_loss_alfa
            self.centers.assign(losses.moved_centers(prelogits, y, self.centers, alfa))
        if training and self.config.prelogits_norm_loss_factor:
            norm = losses.prelogits_norm(prelogits, self.config.prelogits_norm_p)
            terms["prelogits_norm_loss"] = norm
            loss = loss + self.config.prelogits_norm_loss_factor * norm
        if training and self.average is not None:
            # The weights here are those of the step before: averages lag one step until the end.
            self.average.follow(self.network.weights)
        lengths = ops.sqrt(ops.sum(ops.square(prelogits), axis=1))
        terms["embedding_norm"] = ops.sum(lengths * weight) / images
        metrics = Metrics(images=1.0, loss=loss, **terms)
        row = [ops.cast(ops.stop_gradient(value), "float32") for value in vars(metrics).values()]
        self.sums.assign(self.sums + images * ops.stack(row[: self.sums.shape[0]]))
        return loss

    def _terms_of_people(
        self, prelogits: Tensor, outputs: Tensor, y: Tensor, weight: Tensor
    ) -> dict[str, Any]:
        """The classification or triplet loss and its accuracy; `weight` sums to 1."""
        if self.config.loss == "none":
            return {}
        if self.classifier is None:
            positive, negative = losses.triplet_distances(prelogits)
            per_triplet = losses.triplet_loss(positive, negative, self.config.alpha)
            right = ops.cast(positive < negative, "float32")
            return {
                "triplet_loss": ops.mean(per_triplet),
                "accuracy": ops.mean(right),
            }
        per_image = losses.classification_loss(outputs, y, self.config)
        right = ops.cast(ops.equal(ops.argmax(outputs, axis=1), y), weight.dtype)
        return {
            "cross_entropy": ops.sum(weight * per_image),
            "accuracy": ops.sum(weight * right),
        }

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor = None
    ) -> dict[str, Any]:
        """Nothing: Keras would wait for every step to return its metrics as Python numbers."""
        return {}

    def pop_metrics(self) -> Metrics:
        """The metrics since they were last taken."""
        sums = self.value(self.sums)
        self.write(self.sums, np.zeros_like(sums))
        return Metrics(*map(float, sums))

    def embed(self, batch: Batch) -> np.ndarray:
        """Embeddings float32 [n, embedding_size] of unit length, as of a finished model.

        Of the whole batch, of which each rank gives its own rows.
        """
        own = ops.convert_to_numpy(self.predict_on_batch(batch)[0])
        prelogits = distribution.everyones(own)
        return prelogits / np.maximum(np.linalg.norm(prelogits, axis=1, keepdims=True), 1e-5)

    def averaged_weights(self) -> list[np.ndarray] | None:
        """The moving averages of the network's weights, this step's included; None without any."""
        if self.average is None:
            return None
        self.sync_to_variables()
        self.average.follow(self.network.weights)
        return self.average.values()

    def _zeros(self, shape: tuple[int, ...], name: str) -> keras.Variable:
        return self.add_weight(
            shape=shape, initializer="zeros", dtype="float32", trainable=False, name=name
        )
