"""The layers that all networks are made of: convolution or dense, then batch norm and ReLU.

Layers are named after the variable scopes of the original's TensorFlow 1 graphs, with `.` for
`/`: the kernel of the layer `fire2.expand.1x1` of the network `squeezenet` is that graph's
`squeezenet/fire2/expand/1x1/weights`, and its batch norm is `fire2.expand.1x1.BatchNorm`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import keras

from facenet_core.models.networks.registry import check_image_size
from facenet_core.models.preprocessing import Tensor

BATCH_NORM_EPSILON = 0.001
CHANNELS_LAST = "channels_last"


@dataclass(frozen=True)
class Layers:
    """What all layers of one network share, as a slim `arg_scope` would say it.

    Args:
        weight_decay: each kernel adds weight_decay/2 · Σw² to the loss; biases and offsets do not.
        batch_norm_decay: share that the running mean and variance keep at each batch.
        seed: every kernel and dropout mask follows from it and the layer's name.
    """

    weight_decay: float
    batch_norm_decay: float
    seed: int

    def conv(
        self,
        x: Tensor,
        filters: int,
        kernel_size: int | tuple[int, int],
        name: str,
        *,
        strides: int = 1,
        padding: str = "same",
    ) -> Tensor:
        """Convolution without bias, batch norm, ReLU: [n, h, w, c] -> [n, h', w', filters]."""
        x = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides,
            padding,
            data_format=CHANNELS_LAST,
            use_bias=False,
            name=name,
            **self._kernel(name),
        )(x)
        return keras.layers.Activation("relu", name=f"{name}.Relu")(self._batch_norm(x, name))

    def linear_conv(self, x: Tensor, filters: int, name: str) -> Tensor:
        """A 1×1 convolution with bias and nothing after it: [n, h, w, c] -> [n, h, w, filters]."""
        return keras.layers.Conv2D(
            filters, 1, data_format=CHANNELS_LAST, name=name, **self._kernel(name)
        )(x)

    def bottleneck(self, x: Tensor, embedding_size: int) -> Tensor:
        """The layer that gives the prelogits: dense without bias, batch norm, no activation.

        [n, c] -> [n, embedding_size].
        """
        name = "Bottleneck"
        x = keras.layers.Dense(embedding_size, use_bias=False, name=name, **self._kernel(name))(x)
        return self._batch_norm(x, name)

    def dropout(self, x: Tensor, keep_probability: float) -> Tensor:
        """Zeroes a share 1 − keep_probability of the values while training."""
        if keep_probability == 1:
            return x
        seed = layer_seed(self.seed, "Dropout")
        return keras.layers.Dropout(1 - keep_probability, seed=seed, name="Dropout")(x)

    def _batch_norm(self, x: Tensor, name: str) -> Tensor:
        return keras.layers.BatchNormalization(
            momentum=self.batch_norm_decay,
            epsilon=BATCH_NORM_EPSILON,
            scale=False,
            name=f"{name}.BatchNorm",
        )(x)

    def _kernel(self, name: str) -> dict[str, Any]:
        return {
            "kernel_initializer": keras.initializers.GlorotUniform(layer_seed(self.seed, name)),
            "kernel_regularizer": l2_decay(self.weight_decay),
        }


def image_input(image_size: int, smallest: int, network: str) -> Tensor:
    """The network's input, [n, image_size, image_size, 3].

    Raises:
        ConfigError: after the network's strides nothing would be left of such small images.
    """
    check_image_size(network, image_size, smallest)
    return keras.Input((image_size, image_size, 3), name="images")


def max_pool(x: Tensor, size: int, name: str) -> Tensor:
    """Maximum over size × size windows, two pixels apart, none over the edge."""
    return keras.layers.MaxPooling2D(size, 2, "valid", data_format=CHANNELS_LAST, name=name)(x)


def global_average(x: Tensor, name: str) -> Tensor:
    """Mean over all places: [n, h, w, c] -> [n, c]."""
    return keras.layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, name=name)(x)


def concatenate(branches: list[Tensor], name: str) -> Tensor:
    return keras.layers.Concatenate(axis=-1, name=name)(branches)


def residual(
    layers: Layers,
    x: Tensor,
    branches: list[Tensor],
    scale: float,
    name: str,
    activation: bool = True,
) -> Tensor:
    """x + scale · (the branches, joined and brought to the channels of x), then ReLU."""
    mixed = concatenate(branches, f"{name}.concat")
    up = layers.linear_conv(mixed, x.shape[-1], f"{name}.Conv2d_1x1")
    up = keras.layers.Rescaling(scale, name=f"{name}.scale")(up)
    x = keras.layers.Add(name=f"{name}.add")([x, up])
    return keras.layers.Activation("relu", name=f"{name}.Relu")(x) if activation else x


def l2_decay(weight_decay: float) -> keras.regularizers.Regularizer | None:
    """weight_decay/2 · Σw², TensorFlow's `l2_loss`; Keras's own L2 does not halve."""
    return keras.regularizers.L2(weight_decay / 2) if weight_decay > 0 else None


def layer_seed(seed: int, name: str) -> int:
    """A seed for one layer, so that adding a layer leaves the others' weights as they were."""
    return zlib.crc32(f"{seed}/{name}".encode())
