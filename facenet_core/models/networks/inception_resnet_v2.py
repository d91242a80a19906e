"""Inception-ResNet-v2 with a bottleneck: 54.5 million values, the largest of the networks.

The network of davidsandberg/facenet's `models.inception_resnet_v2`, after Szegedy et al.,
"Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
https://arxiv.org/abs/1602.07261.
"""

from __future__ import annotations

import keras

from facenet_core.models.networks.inception_blocks import (
    block8,
    block17,
    block35,
    reduction_a,
    reduction_b,
)
from facenet_core.models.networks.layers import (
    CHANNELS_LAST,
    Layers,
    concatenate,
    global_average,
    image_input,
    max_pool,
)
from facenet_core.models.networks.registry import SMALLEST_IMAGE
from facenet_core.models.preprocessing import Tensor


def inception_resnet_v2(
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

        network = inception_resnet_v2(image_size=160)
        prelogits = network(np.zeros((2, 160, 160, 3), "float32"))  # [2, 128]
    """
    layers = Layers(weight_decay, batch_norm_decay, seed)
    images = image_input(image_size, SMALLEST_IMAGE["inception_resnet_v2"], "inception_resnet_v2")
    x = layers.conv(images, 32, 3, "Conv2d_1a_3x3", strides=2, padding="valid")
    x = layers.conv(x, 32, 3, "Conv2d_2a_3x3", padding="valid")
    x = layers.conv(x, 64, 3, "Conv2d_2b_3x3")
    x = max_pool(x, 3, "MaxPool_3a_3x3")
    x = layers.conv(x, 80, 1, "Conv2d_3b_1x1", padding="valid")
    x = layers.conv(x, 192, 3, "Conv2d_4a_3x3", padding="valid")
    x = max_pool(x, 3, "MaxPool_5a_3x3")
    x = _mixed_5b(layers, x, "Mixed_5b")
    for number in range(1, 11):
        x = block35(layers, x, 0.17, f"Repeat.block35_{number}", branch_2=(32, 48, 64))
    x = reduction_a(layers, x, "Mixed_6a", branch_1=(256, 256, 384))
    for number in range(1, 21):
        name = f"Repeat_1.block17_{number}"
        x = block17(layers, x, 0.10, name, branch_0=192, branch_1=(128, 160, 192))
    x = reduction_b(layers, x, "Mixed_7a", last=(384, 288, 320), between=288)
    for number in range(1, 10):
        x = block8(layers, x, 0.20, f"Repeat_2.block8_{number}", branch_1=(192, 224, 256))
    x = block8(layers, x, 1.0, "Block8", branch_1=(192, 224, 256), activation=False)
    x = layers.conv(x, 1536, 1, "Conv2d_7b_1x1")
    x = global_average(x, "AvgPool_1a_8x8")
    x = layers.dropout(x, keep_probability)
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="InceptionResnetV2")


def _mixed_5b(layers: Layers, x: Tensor, name: str) -> Tensor:
    """The inception block before the residual ones: [n, h, w, 192] -> [n, h, w, 320]."""
    branch_0 = layers.conv(x, 96, 1, f"{name}.Branch_0.Conv2d_1x1")
    branch_1 = layers.conv(x, 48, 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    branch_1 = layers.conv(branch_1, 64, 5, f"{name}.Branch_1.Conv2d_0b_5x5")
    branch_2 = layers.conv(x, 64, 1, f"{name}.Branch_2.Conv2d_0a_1x1")
    branch_2 = layers.conv(branch_2, 96, 3, f"{name}.Branch_2.Conv2d_0b_3x3")
    branch_2 = layers.conv(branch_2, 96, 3, f"{name}.Branch_2.Conv2d_0c_3x3")
    branch_3 = keras.layers.AveragePooling2D(
        3, 1, "same", data_format=CHANNELS_LAST, name=f"{name}.Branch_3.AvgPool_0a_3x3"
    )(x)
    branch_3 = layers.conv(branch_3, 64, 1, f"{name}.Branch_3.Conv2d_0b_1x1")
    return concatenate([branch_0, branch_1, branch_2, branch_3], f"{name}.concat")
