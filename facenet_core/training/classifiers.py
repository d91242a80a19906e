"""What tells people apart while training, and is left behind when the model is saved."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from facenet_core.config import TrainConfig
from facenet_core.models.networks.layers import l2_decay, layer_seed
from facenet_core.training import losses, optimizers

# Radians and a cosine, the authors' choices.
_MARGINS = {"arcface": 0.5, "cosface": 0.35}


class Directions(keras.layers.Layer):
    """A unit vector for each class: prelogits [n, d] -> cosines [n, classes]."""

    def __init__(self, nrof_classes: int, **options: Any) -> None:
        self._kernel_options = {
            key: options.pop(key) for key in ("kernel_initializer", "kernel_regularizer")
        }
        super().__init__(**options)
        self.nrof_classes = nrof_classes

    def build(self, input_shape: tuple[int | None, int]) -> None:
        self.kernel = self.add_weight(
            shape=(input_shape[1], self.nrof_classes),
            name="kernel",
            initializer=self._kernel_options["kernel_initializer"],
            regularizer=self._kernel_options["kernel_regularizer"],
        )
        self.built = True

    def call(self, prelogits: Any) -> Any:
        directions = losses.unit_length(ops.transpose(self.kernel))
        return ops.matmul(losses.unit_length(prelogits), ops.transpose(directions))


def build(nrof_classes: int, config: TrainConfig) -> keras.layers.Layer | None:
    """The layer from prelogits [n, embedding_size] to logits or cosines; None for triplets."""
    if config.loss == "triplet":
        return None
    options: dict[str, Any] = {
        "kernel_initializer": keras.initializers.GlorotUniform(layer_seed(config.seed, "Logits")),
        "kernel_regularizer": l2_decay(penalty(config)),
        "name": "Logits",
    }
    kind = keras.layers.Dense if config.loss == "softmax" else Directions
    layer = kind(nrof_classes, dtype="float32", **options)
    layer.build((None, config.embedding_size))
    return layer


def penalty(config: TrainConfig) -> float:
    """The weight decay that is part of the loss."""
    return 0.0 if config.optimizer in optimizers.DECOUPLED else config.weight_decay


def margin(config: TrainConfig) -> float:
    """m of ArcFace or CosFace."""
    return _MARGINS[config.loss] if config.logit_margin is None else config.logit_margin


def cross_entropy(outputs: Any, labels: Any, config: TrainConfig) -> Any:
    """Loss [n] of a classifier's outputs [n, classes] and labels int [n]."""
    if config.loss == "arcface":
        outputs = losses.arcface_logits(outputs, labels, config.logit_scale, margin(config))
    elif config.loss == "cosface":
        outputs = losses.cosface_logits(outputs, labels, config.logit_scale, margin(config))
    return losses.cross_entropy(outputs, labels)
