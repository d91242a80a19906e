"""SqueezeNet with batch norm and a bottleneck: 1.4 million values, quick on a CPU.

The network of davidsandberg/facenet's `models.squeezenet`, after Iandola et al., "SqueezeNet:
AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
https://arxiv.org/abs/1602.07360 (version 1.0, with batch norm after each convolution).
"""

from __future__ import annotations

import keras

from facenet_core.models.networks.layers import (
    Layers,
    concatenate,
    global_average,
    image_input,
    max_pool,
)
from facenet_core.models.networks.registry import SMALLEST_IMAGE
from facenet_core.models.preprocessing import Tensor


def squeezenet(
    *,
    image_size: int,
    embedding_size: int = 128,
    keep_probability: float = 1.0,
    weight_decay: float = 0.0,
    batch_norm_decay: float = 0.995,
    seed: int = 0,
) -> keras.Model:
    """Standardised images [n, s, s, 3] float32 -> prelogits [n, embedding_size] float32.

    `image_size` is at least 25. Example:

        network = squeezenet(image_size=96)
        prelogits = network(np.zeros((2, 96, 96, 3), "float32"))  # [2, 128]
    """
    layers = Layers(weight_decay, batch_norm_decay, seed)
    images = image_input(image_size, SMALLEST_IMAGE["squeezenet"], "squeezenet")
    x = layers.conv(images, 96, 7, "conv1", strides=2)
    x = max_pool(x, 3, "maxpool1")
    x = _fire(layers, x, 16, 64, "fire2")
    x = _fire(layers, x, 16, 64, "fire3")
    x = _fire(layers, x, 32, 128, "fire4")
    x = max_pool(x, 2, "maxpool4")
    x = _fire(layers, x, 32, 128, "fire5")
    x = _fire(layers, x, 48, 192, "fire6")
    x = _fire(layers, x, 48, 192, "fire7")
    x = _fire(layers, x, 64, 256, "fire8")
    x = max_pool(x, 3, "maxpool8")
    x = _fire(layers, x, 64, 256, "fire9")
    x = layers.dropout(x, keep_probability)
    x = layers.linear_conv(x, 1000, "conv10")
    x = global_average(x, "avgpool10")
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="squeezenet")


def _fire(layers: Layers, x: Tensor, squeeze: int, expand: int, name: str) -> Tensor:
    """Few channels for the 3×3 convolution to look at: [n, h, w, c] -> [n, h, w, 2 · expand]."""
    x = layers.conv(x, squeeze, 1, f"{name}.squeeze")
    branches = [
        layers.conv(x, expand, 1, f"{name}.expand.1x1"),
        layers.conv(x, expand, 3, f"{name}.expand.3x3"),
    ]
    return concatenate(branches, f"{name}.concat")
