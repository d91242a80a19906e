"""The network with its classifier, centers and losses: everything one training step touches.

Keras takes the gradient in its own `Model.train_step`, which `train_on_batch` runs: it calls our
`TrainStep.call` for prelogits and outputs, then `TrainStep.compute_loss` for the loss, takes the
gradient of that, and has the optimizer (`optimizers.py`) apply it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import keras
import numpy as np
from keras import ops

from facenet_core.config import TrainConfig
from facenet_core.models.preprocessing import Tensor
from facenet_core.training import augmentation, classifier, losses
from facenet_core.training.augmentation import Augmentation
from facenet_core.training.classifier import SampledClassifier
from facenet_core.training.engine import distribution
from facenet_core.training.engine.exchange import Exchange, read_rows, write_rows
from facenet_core.training.engine.fused import training_copy
from facenet_core.training.engine.jax_steps import JaxSteps
from facenet_core.training.engine.moving_average import MovingAverage
from facenet_core.training.input.classes import ClassSample, rows_of_shard


@dataclass(frozen=True)
class Metrics:
    """Sums over images.

    `loss` is the whole: cross-entropy or triplet loss + weight decay + λ · center loss + λ · the
    norm of prelogits + λ · the distance from the teacher + λ · that from its relations. `accuracy`
    is the share of images that are told right among the classes of the step or, of triplets, whose
    positive is nearer than the negative. `embedding_norm` is the length of prelogits.
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
    teacher_relation_loss: float = 0.0

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
    if not config.has_relations:
        absent = absent | {"teacher_relation_loss"}
    return {name: None if name in absent else value for name, value in means.items()}


Batch = dict[str, np.ndarray]


class TrainStep(keras.Model):
    """Trained by `train_on_batch(batch, labels, return_dict=True)`, which returns nothing.

    A batch is {"images": uint8 [n, h, w, 3], "drawn": float32 [n, 8]}, see `augmentation`; where
    there is a teacher with {"teacher": float32 [n, d]}, its embeddings, and where a step takes a
    sample of the classes with {"classes": int32 [places], "places": int32 [n]}, see
    `input.classes`; labels int32 [n]. Metrics add up on the device until `pop_metrics`, so that
    steps do not wait for each other. Between steps variables are read by `value`, written by
    `write`, and anybody else's after `sync_to_variables`: under JAX they are empty until then.

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
        self.nrof_classes = nrof_classes
        shards = distribution.class_shards()
        self.class_sample = (
            ClassSample(
                nrof_classes, config.classifier_sample_rate, config.batch_size, config.seed, shards
            )
            if config.classifier_sample_rate < 1
            else None
        )
        places = None if self.class_sample is None else self.class_sample.places
        self.classifier = classifier.build(nrof_classes, config, shards, places)
        self.projection = losses.build_projection(teacher_size, config)
        # Without a center loss, nobody pays for the centers.
        self.centers = (
            self._zeros(
                (shards * rows_of_shard(nrof_classes, shards), config.embedding_size), "centers"
            )
            if config.center_loss_factor
            else None
        )
        self.average = (
            MovingAverage(config.moving_average_decay, self.network.weights)
            if config.moving_average_decay
            else None
        )
        # Checkpoints hold no figures of what a training does not have.
        count = len(Metrics().values()) - (config.teacher is None) - (not config.has_relations)
        self.sums = self._zeros((count,), "sums")
        self._steps: JaxSteps | None = None
        self._exchange: Exchange | None = None
        self._passing: set[int] = set()
        self.built = True  # else Keras would build it of a batch
        # The bound method, as Keras would take the model itself for a part of this one.
        self._prelogits = _Prelogits(self.network, self.augmentation).predict_on_batch

    def sample_classes(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Where a step takes a sample of the classes, keep what the optimizer remembers of others.

        Args:
            optimizer: built.
        """
        if not isinstance(self.classifier, SampledClassifier):
            return
        whole, trained = list(self.classifier.whole), list(self.classifier.trained)
        for all_rows, at_hand in zip(self.classifier.whole, self.classifier.trained, strict=True):
            name = at_hand.path.replace("/", "_") + "_"  # as Keras names an optimizer's variables
            for memory in optimizer.variables:
                if memory.name.startswith(name):
                    start = float(ops.ravel(memory)[0])
                    trained.append(memory)
                    whole.append(
                        self.add_weight(
                            shape=all_rows.shape,
                            initializer=keras.initializers.Constant(start),
                            dtype=memory.dtype,
                            trainable=False,
                            name=f"whole_{memory.name}",
                        )
                    )
        self._exchange = Exchange(whole, trained, distribution.class_shards())
        self._passing = set(map(id, trained))

    def lasting(self, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
        """Those that last longer than a step."""
        return [variable for variable in variables if id(variable) not in self._passing]

    def call(self, batch: Batch, training: bool = False) -> tuple[Tensor, Tensor]:
        """Prelogits [n, embedding_size], and the classifier's outputs [n, classes] of them.

        Where the loss needs no classifier, the prelogits twice; where a batch has classes, outputs
        [n, places] for these alone.
        """
        prelogits = _prelogits(self.network, batch, self.augmentation, training)
        if self.classifier is None:
            return prelogits, prelogits
        sample = {"classes": batch["classes"]} if "classes" in batch else {}
        return prelogits, self.classifier(prelogits, **sample)

    def train_on_batch(
        self, x: Tensor, y: Tensor = None, sample_weight: Tensor = None, **options: Any
    ) -> Tensor:
        if keras.backend.backend() == "jax":
            self._steps = self._steps or JaxSteps(self)
        if self._exchange is not None:
            self._exchange.bring(x["classes"], self._steps)
        if self._steps is None:
            return super().train_on_batch(x, y, sample_weight, **options)
        return self._steps.take((x, y, sample_weight))

    def test_on_batch(
        self, x: Tensor, y: Tensor = None, sample_weight: Tensor = None, **options: Any
    ) -> Tensor:
        self.sync_to_variables()
        return super().test_on_batch(x, y, sample_weight, **options)

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
        if self._exchange is not None:
            self._exchange.put_back(self._steps)
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
        places = x.get("places", y)  # of the own classes among the outputs
        terms = self._terms_of_people(prelogits, outputs, places, weight / images)
        loss = terms.get("cross_entropy", 0.0) + terms.get("triplet_loss", 0.0)
        if self.config.teacher is not None:
            projected = prelogits if self.projection is None else self.projection(prelogits)
            per_image = losses.teacher_loss(projected, x["teacher"])
            terms["teacher_loss"] = ops.sum(weight * per_image) / images
            loss = loss + self.config.teacher_factor * terms["teacher_loss"]
            if self.config.has_relations:
                per_image = losses.relation_loss(projected, x["teacher"], weight)
                terms["teacher_relation_loss"] = ops.sum(weight * per_image) / images
                loss = loss + self.config.teacher_relation_factor * terms["teacher_relation_loss"]
        decays = list(self.losses)
        if isinstance(self.classifier, SampledClassifier) and "classes" in x:
            decays.append(self.classifier.penalty(x["classes"]))
        if decays:
            terms["weight_decay"] = sum(decays)
            loss = loss + terms["weight_decay"]
        if training and self.centers is not None:
            own = read_rows(self.centers, y)
            terms["center_loss"] = losses.center_loss(prelogits, own)
            loss = loss + self.config.center_loss_factor * terms["center_loss"]
            alfa = self.config.center_loss_alfa
            write_rows(self.centers, y, losses.moved_centers(prelogits, y, own, alfa))
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
        self.sync_to_variables()
        images = {name: batch[name] for name in ("images", "drawn")}
        own = ops.convert_to_numpy(self._prelogits(images))
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


class _Prelogits(keras.Model):
    """The network on images as they are trained on: a batch without labels -> prelogits [n, d]."""

    def __init__(self, network: keras.Model, augmentation: Augmentation) -> None:
        super().__init__(name="prelogits")
        self._network, self._augmentation = network, augmentation
        self.compile(jit_compile=keras.backend.backend() == "jax")
        self.built = True

    def call(self, batch: Batch, training: bool = False) -> Tensor:
        return _prelogits(self._network, batch, self._augmentation, training)


def _prelogits(network: keras.Model, batch: Batch, shape: Augmentation, training: bool) -> Tensor:
    """Prelogits float32 [n, d] of a batch's images, altered as was drawn for them."""
    inputs = augmentation.prepare(batch["images"], batch["drawn"], shape)
    return ops.cast(network(inputs, training=training), "float32")
