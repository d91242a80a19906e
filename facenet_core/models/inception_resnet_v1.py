"""Inception-ResNet-v1 with a bottleneck: 23 million values, the network of the published models.

The network of davidsandberg/facenet's `models.inception_resnet_v1`, after Szegedy et al.,
"Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
https://arxiv.org/abs/1602.07261.
"""

from __future__ import annotations

from typing import Any

import keras

from facenet_core.models.layers import (
    Layers,
    concatenate,
    global_average,
    image_input,
    max_pool,
    residual,
)

SMALLEST_IMAGE = 75


def inception_resnet_v1(
    *,
    image_size: int,
    embedding_size: int = 128,
    keep_probability: float = 1.0,
    weight_decay: float = 0.0,
    batch_norm_decay: float = 0.995,
    seed: int = 0,
) -> keras.Model:
    """Standardised images [n, s, s, 3] float32 -> prelogits [n, embedding_size] float32.

    `image_size` is at least 75; 160 is usual. Example:

        network = inception_resnet_v1(image_size=160, embedding_size=512)
        prelogits = network(np.zeros((2, 160, 160, 3), "float32"))  # [2, 512]
    """
    layers = Layers(weight_decay, batch_norm_decay, seed)
    images = image_input(image_size, SMALLEST_IMAGE, "inception_resnet_v1")
    x = layers.conv(images, 32, 3, "Conv2d_1a_3x3", strides=2, padding="valid")
    x = layers.conv(x, 32, 3, "Conv2d_2a_3x3", padding="valid")
    x = layers.conv(x, 64, 3, "Conv2d_2b_3x3")
    x = max_pool(x, 3, "MaxPool_3a_3x3")
    x = layers.conv(x, 80, 1, "Conv2d_3b_1x1", padding="valid")
    x = layers.conv(x, 192, 3, "Conv2d_4a_3x3", padding="valid")
    x = layers.conv(x, 256, 3, "Conv2d_4b_3x3", strides=2, padding="valid")
    for number in range(1, 6):
        x = _block35(layers, x, 0.17, f"Repeat.block35_{number}")
    x = _reduction_a(layers, x, "Mixed_6a")
    for number in range(1, 11):
        x = _block17(layers, x, 0.10, f"Repeat_1.block17_{number}")
    x = _reduction_b(layers, x, "Mixed_7a")
    for number in range(1, 6):
        x = _block8(layers, x, 0.20, f"Repeat_2.block8_{number}")
    x = _block8(layers, x, 1.0, "Block8", activation=False)
    x = global_average(x, "AvgPool_1a_8x8")
    x = layers.dropout(x, keep_probability)
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="InceptionResnetV1")


def _block35(layers: Layers, x: Any, scale: float, name: str) -> Any:
    """Inception-ResNet-A; the sizes in the names are the paper's, for images of 299 pixels."""
    branch_0 = layers.conv(x, 32, 1, f"{name}.Branch_0.Conv2d_1x1")
    branch_1 = layers.conv(x, 32, 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    branch_1 = layers.conv(branch_1, 32, 3, f"{name}.Branch_1.Conv2d_0b_3x3")
    branch_2 = layers.conv(x, 32, 1, f"{name}.Branch_2.Conv2d_0a_1x1")
    branch_2 = layers.conv(branch_2, 32, 3, f"{name}.Branch_2.Conv2d_0b_3x3")
    branch_2 = layers.conv(branch_2, 32, 3, f"{name}.Branch_2.Conv2d_0c_3x3")
    return residual(layers, x, [branch_0, branch_1, branch_2], scale, name)


def _block17(layers: Layers, x: Any, scale: float, name: str) -> Any:
    """Inception-ResNet-B."""
    branch_0 = layers.conv(x, 128, 1, f"{name}.Branch_0.Conv2d_1x1")
    branch_1 = layers.conv(x, 128, 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    branch_1 = layers.conv(branch_1, 128, (1, 7), f"{name}.Branch_1.Conv2d_0b_1x7")
    branch_1 = layers.conv(branch_1, 128, (7, 1), f"{name}.Branch_1.Conv2d_0c_7x1")
    return residual(layers, x, [branch_0, branch_1], scale, name)


def _block8(layers: Layers, x: Any, scale: float, name: str, activation: bool = True) -> Any:
    """Inception-ResNet-C."""
    branch_0 = layers.conv(x, 192, 1, f"{name}.Branch_0.Conv2d_1x1")
    branch_1 = layers.conv(x, 192, 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    branch_1 = layers.conv(branch_1, 192, (1, 3), f"{name}.Branch_1.Conv2d_0b_1x3")
    branch_1 = layers.conv(branch_1, 192, (3, 1), f"{name}.Branch_1.Conv2d_0c_3x1")
    return residual(layers, x, [branch_0, branch_1], scale, name, activation)


def _reduction_a(layers: Layers, x: Any, name: str) -> Any:
    """Halves height and width: [n, h, w, 256] -> [n, h/2, w/2, 896]."""
    branch_0 = layers.conv(x, 384, 3, f"{name}.Branch_0.Conv2d_1a_3x3", strides=2, padding="valid")
    branch_1 = layers.conv(x, 192, 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    branch_1 = layers.conv(branch_1, 192, 3, f"{name}.Branch_1.Conv2d_0b_3x3")
    branch_1 = layers.conv(
        branch_1, 256, 3, f"{name}.Branch_1.Conv2d_1a_3x3", strides=2, padding="valid"
    )
    pooled = max_pool(x, 3, f"{name}.Branch_2.MaxPool_1a_3x3")
    return concatenate([branch_0, branch_1, pooled], f"{name}.concat")


def _reduction_b(layers: Layers, x: Any, name: str) -> Any:
    """Halves height and width: [n, h, w, 896] -> [n, h/2, w/2, 1792]."""
    branches = []
    for number, filters in enumerate([384, 256, 256]):
        branch = layers.conv(x, 256, 1, f"{name}.Branch_{number}.Conv2d_0a_1x1")
        if number == 2:
            branch = layers.conv(branch, 256, 3, f"{name}.Branch_2.Conv2d_0b_3x3")
        last = f"{name}.Branch_{number}.Conv2d_1a_3x3"
        branches.append(layers.conv(branch, filters, 3, last, strides=2, padding="valid"))
    branches.append(max_pool(x, 3, f"{name}.Branch_3.MaxPool_1a_3x3"))
    return concatenate(branches, f"{name}.concat")
