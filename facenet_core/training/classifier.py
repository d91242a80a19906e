"""Classifiers of people: a direction for each, of which a step takes all or a sample.

Where devices divide the classes between them, there are as many rows as they can divide evenly.
The last ones then belong to nobody: their logits are those of something impossible.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from facenet_core.config import TrainConfig
from facenet_core.models.networks.layers import l2_decay, layer_seed
from facenet_core.models.preprocessing import Tensor
from facenet_core.training import losses
from facenet_core.training.engine.weight_decay import half_squares
from facenet_core.training.input.classes import rows_of_shard

_IMPOSSIBLE = -1e9


class _Directions(keras.initializers.Initializer):
    """Of `GlorotUniform`, [d, rows] or [rows, d]: the same for each class however many rows there
    are, and zeros for those that belong to nobody."""

    def __init__(self, nrof_classes: int, seed: int, rows_first: bool = False) -> None:
        self._nrof_classes, self._seed, self._rows_first = nrof_classes, seed, rows_first

    def by_row(self) -> _Directions:
        return _Directions(self._nrof_classes, self._seed, rows_first=True)

    def __call__(self, shape: tuple[int, int], dtype: Any = None) -> Tensor:
        size, rows = shape[::-1] if self._rows_first else shape
        drawn = keras.initializers.GlorotUniform(self._seed)((size, self._nrof_classes), dtype)
        if rows > self._nrof_classes:
            drawn = ops.pad(drawn, [[0, 0], [0, rows - self._nrof_classes]])
        return ops.transpose(drawn) if self._rows_first else drawn


class Classifier(keras.layers.Layer):
    """Prelogits [n, d] -> logits [n, rows] of the softmax loss, or cosines for margin losses."""

    def __init__(self, nrof_classes: int, rows: int, config: TrainConfig) -> None:
        super().__init__(name="Logits", dtype="float32")
        self.nrof_classes, self.rows = nrof_classes, rows
        self.cosines = config.loss != "softmax"
        self._start = _Directions(nrof_classes, layer_seed(config.seed, "Logits"))
        self._decay = losses.penalty(config)

    def build(self, input_shape: tuple[int | None, int]) -> None:
        self.kernel = self.add_weight(
            shape=(input_shape[1], self.rows),
            name="kernel",
            initializer=self._start,
            regularizer=l2_decay(self._decay),
        )
        if not self.cosines:
            self.bias = self.add_weight(shape=(self.rows,), name="bias", initializer="zeros")
        self.built = True

    def call(self, prelogits: Tensor) -> Tensor:
        bias = None if self.cosines else self.bias
        return self._of_all(self._outputs(prelogits, self.kernel, bias))

    def _outputs(self, prelogits: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        if not self.cosines:
            return ops.matmul(prelogits, kernel) + bias
        directions = losses.unit_length(ops.transpose(kernel))
        return ops.matmul(losses.unit_length(prelogits), ops.transpose(directions))

    def _of_all(self, outputs: Tensor) -> Tensor:
        """Outputs [n, rows], impossible where a row belongs to nobody."""
        if self.rows == self.nrof_classes:
            return outputs
        return ops.where(ops.arange(self.rows) < self.nrof_classes, outputs, _IMPOSSIBLE)


class SampledClassifier(Classifier):
    """Of which a step trains the rows of some classes alone, known as partial FC.

    An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face Recognition
    CNNs by Partial FC", https://arxiv.org/abs/2203.15565. Before a step, `engine.exchange` brings
    the rows of its classes, and what the optimizer remembers of them, to where they are trained.
    All other rows stay as they are.

    Attributes:
        whole: [rows, d], and [rows] of the softmax loss.
        trained: those at hand, [places, d] and [places].
    """

    def __init__(
        self, nrof_classes: int, rows: int, config: TrainConfig, places: int, shards: int
    ) -> None:
        super().__init__(nrof_classes, rows, config)
        self._places, self._rows_of_shard = places, rows // shards

    def build(self, input_shape: tuple[int | None, int]) -> None:
        size = input_shape[1]
        self.whole = [
            self.add_weight(
                shape=(self.rows, size),
                name="whole_kernel",
                initializer=self._start.by_row(),
                trainable=False,
            )
        ]
        self.trained = [
            self.add_weight(shape=(self._places, size), name="trained_kernel", initializer="zeros")
        ]
        if not self.cosines:
            zeros: Any = {"initializer": "zeros"}
            self.whole.append(
                self.add_weight(shape=(self.rows,), name="whole_bias", trainable=False, **zeros)
            )
            self.trained.append(
                self.add_weight(shape=(self._places,), name="trained_bias", **zeros)
            )
        self.built = True

    def call(self, prelogits: Tensor, classes: Tensor = None) -> Tensor:
        """Outputs [n, rows] for all classes, or [n, places] for those of a step.

        Args:
            classes: int32 [places], rows of the shard of each place; beyond them where a place is
                empty.
        """
        kernel, *bias = self.whole if classes is None else self.trained
        outputs = self._outputs(prelogits, ops.transpose(kernel), *(bias or [None]))
        if classes is None:
            return self._of_all(outputs)
        return ops.where(self._taken(classes), outputs, _IMPOSSIBLE)

    def penalty(self, classes: Tensor) -> Tensor:
        """The weight decay of the rows that take part, float32 []."""
        taken = ops.cast(self._taken(classes), "float32")[:, None]
        return self._decay * half_squares(self.trained[0] * taken)

    def _taken(self, classes: Tensor) -> Tensor:
        return ops.convert_to_tensor(classes) < self._rows_of_shard


def build(
    nrof_classes: int, config: TrainConfig, shards: int = 1, places: int | None = None
) -> Classifier | None:
    """The layer from prelogits [n, embedding_size] to logits or cosines; None without classes.

    Args:
        shards: among how many devices classes are divided.
        places: for the classes of a step, where it takes a sample.
    """
    if not config.classifies:
        return None
    rows = shards * rows_of_shard(nrof_classes, shards)
    if places is None:
        layer = Classifier(nrof_classes, rows, config)
    else:
        layer = SampledClassifier(nrof_classes, rows, config, places, shards)
    layer.build((None, config.embedding_size))
    return layer
