"""Inception-ResNet-v1 with a bottleneck: 23 million values, the network of the published models.

The network of davidsandberg/facenet's `models.inception_resnet_v1`, after Szegedy et al.,
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
from facenet_core.models.networks.layers import Layers, global_average, image_input, max_pool
from facenet_core.models.networks.registry import SMALLEST_IMAGE


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
    images = image_input(image_size, SMALLEST_IMAGE["inception_resnet_v1"], "inception_resnet_v1")
    x = layers.conv(images, 32, 3, "Conv2d_1a_3x3", strides=2, padding="valid")
    x = layers.conv(x, 32, 3, "Conv2d_2a_3x3", padding="valid")
    x = layers.conv(x, 64, 3, "Conv2d_2b_3x3")
    x = max_pool(x, 3, "MaxPool_3a_3x3")
    x = layers.conv(x, 80, 1, "Conv2d_3b_1x1", padding="valid")
    x = layers.conv(x, 192, 3, "Conv2d_4a_3x3", padding="valid")
    x = layers.conv(x, 256, 3, "Conv2d_4b_3x3", strides=2, padding="valid")
    for number in range(1, 6):
        x = block35(layers, x, 0.17, f"Repeat.block35_{number}", branch_2=(32, 32, 32))
    x = reduction_a(layers, x, "Mixed_6a", branch_1=(192, 192, 256))
    for number in range(1, 11):
        name = f"Repeat_1.block17_{number}"
        x = block17(layers, x, 0.10, name, branch_0=128, branch_1=(128, 128, 128))
    x = reduction_b(layers, x, "Mixed_7a", last=(384, 256, 256), between=256)
    for number in range(1, 6):
        x = block8(layers, x, 0.20, f"Repeat_2.block8_{number}", branch_1=(192, 192, 192))
    x = block8(layers, x, 1.0, "Block8", branch_1=(192, 192, 192), activation=False)
    x = global_average(x, "AvgPool_1a_8x8")
    x = layers.dropout(x, keep_probability)
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="InceptionResnetV1")
