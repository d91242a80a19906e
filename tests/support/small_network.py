"""A network of few layers that builds and loads at once, for tests of what is around networks."""

from __future__ import annotations

from typing import Any


def small_network(image_size: int = 32, embedding_size: int = 16) -> Any:
    """Standardised images [n, s, s, 3] -> prelogits [n, d], of the layers that all are made of."""
    import keras

    from facenet_core.models.networks.layers import (
        Layers,
        concatenate,
        global_average,
        image_input,
        max_pool,
    )

    layers = Layers(weight_decay=0.0, batch_norm_decay=0.9, seed=1)
    images = image_input(image_size, image_size, "small")
    x = max_pool(layers.conv(images, 8, 3, "conv1", strides=2), 3, "pool1")
    branches = [layers.conv(x, 8, 1, "branch0"), layers.linear_conv(x, 8, "branch1")]
    x = layers.dropout(global_average(concatenate(branches, "concat"), "average"), 0.8)
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="small")
