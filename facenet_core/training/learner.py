"""The network with its classifier, centers and losses: everything one training step touches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from facenet_core.config import TrainConfig
from facenet_core.models.layers import l2_decay, layer_seed
from facenet_core.models.preprocessing import standardize
from facenet_core.training import losses
from facenet_core.training.augmentation import cut
from facenet_core.training.fused_batch_norm import fused
from facenet_core.training.moving_average import MovingAverage

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Figures:
    """Sums over images; the means are what people look at.

    `loss` is the whole: cross-entropy + weight decay + λ · center loss + the norm of prelogits.
    """

    images: float = 0.0
    loss: float = 0.0
    cross_entropy: float = 0.0
    center_loss: float = 0.0
    weight_decay: float = 0.0
    accuracy: float = 0.0

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        return (
            self.images,
            self.loss,
            self.cross_entropy,
            self.center_loss,
            self.weight_decay,
            self.accuracy,
        )

    def means(self) -> dict[str, float]:
        """Mean over the images of each figure but their number."""
        names = ("loss", "cross_entropy", "center_loss", "weight_decay", "accuracy")
        return {name: getattr(self, name) / self.images for name in names}

    def finite(self) -> bool:
        return all(map(math.isfinite, self.values()))


class Learner(keras.Model):
    """Trained by `train_on_batch(batch, labels, return_dict=True)`, which returns nothing.

    A batch is {"images": uint8 [n, h, w, 3], "placements": int32 [n, 3]}, labels int32 [n].
    Figures add up on the device until `take_figures`, so that steps do not wait for each other.
    """

    def __init__(self, network: keras.Model, nrof_classes: int, config: TrainConfig) -> None:
        super().__init__(name="learner")
        self.network = fused(network)
        self.config = config
        self.classifier = keras.layers.Dense(
            nrof_classes,
            kernel_initializer=keras.initializers.GlorotUniform(layer_seed(config.seed, "Logits")),
            kernel_regularizer=l2_decay(config.weight_decay),
            name="Logits",
        )
        self.classifier.build((None, config.embedding_size))
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
        self.sums = self._zeros((len(Figures().values()),), "sums")

    def call(self, batch: Batch, training: bool = False) -> tuple[Any, Any]:
        """Prelogits [n, embedding_size] and logits [n, classes]."""
        images = cut(batch["images"], batch["placements"], self.config.image_size)
        images = standardize(images, self.config.use_fixed_image_standardization)
        prelogits = self.network(images, training=training)
        return prelogits, self.classifier(prelogits)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The loss, a scalar; the figures are added up, and while training the centers move.

        `sample_weight` is 0 for images that only fill a batch.
        """
        prelogits, logits = y_pred
        weight = ops.ones_like(prelogits[:, 0]) if sample_weight is None else sample_weight
        images = ops.sum(weight)
        per_image = losses.cross_entropy(logits, y)
        correct = ops.cast(ops.equal(ops.argmax(logits, axis=1), y), weight.dtype)
        cross_entropy = ops.sum(weight * per_image) / images
        accuracy = ops.sum(weight * correct) / images
        center_loss = weight_decay = ops.zeros(())
        loss = cross_entropy
        if decays := self.losses:
            weight_decay = sum(decays)
            loss = loss + weight_decay
        if training and self.centers is not None:
            center_loss = losses.center_loss(prelogits, y, self.centers)
            loss = loss + self.config.center_loss_factor * center_loss
            alfa = self.config.center_loss_alfa
            self.centers.assign(losses.moved_centers(prelogits, y, self.centers, alfa))
        if training and self.config.prelogits_norm_loss_factor:
            norm = losses.prelogits_norm(prelogits, self.config.prelogits_norm_p)
            loss = loss + self.config.prelogits_norm_loss_factor * norm
        if training and self.average is not None:
            # The weights here are those of the step before: averages lag one step until the end.
            self.average.follow(self.network.weights)
        figures = Figures(1.0, loss, cross_entropy, center_loss, weight_decay, accuracy)
        self.sums.assign(self.sums + images * ops.stop_gradient(ops.stack(figures.values())))
        return loss

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Nothing: Keras would wait for every step to return its metrics as Python numbers."""
        return {}

    def take_figures(self) -> Figures:
        """The figures since they were last taken."""
        sums = ops.convert_to_numpy(self.sums)
        self.sums.assign(np.zeros_like(sums))
        return Figures(*map(float, sums))

    def trained_weights(self) -> list[np.ndarray]:
        """Values of the network's weights to keep, in the order of `keras.Model.weights`."""
        if self.average is None:
            return self.network.get_weights()
        self.average.follow(self.network.weights)
        return self.average.values()

    def _zeros(self, shape: tuple[int, ...], name: str) -> keras.Variable:
        return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)
