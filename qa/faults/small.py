"""The network of the fault runs: it compiles at once, and has dropout and batch norm as others."""

from __future__ import annotations

from typing import Any


def network(
    *,
    image_size: int,
    embedding_size: int,
    keep_probability: float = 1.0,
    weight_decay: float = 0.0,
    batch_norm_decay: float = 0.995,
    seed: int = 0,
) -> Any:
    """Standardised images [n, s, s, 3] float32 -> prelogits [n, embedding_size] float32."""
    import keras

    from facenet_core.models.networks.layers import Layers, global_average, image_input

    layers = Layers(weight_decay, batch_norm_decay, seed)
    images = image_input(image_size, image_size, "small")
    x = layers.conv(images, 8, 3, "conv1", strides=2)
    x = layers.dropout(layers.conv(x, 16, 3, "conv2", strides=2), keep_probability)
    x = global_average(x, "average")
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="small")
