"""Small crops artifacts, whose people are told apart by a pattern of their own, and a network."""

from __future__ import annotations

import io
from collections.abc import Mapping

import keras
import numpy as np
from PIL import Image

from facenet_core import storage
from facenet_core.models.networks.layers import Layers, global_average, image_input, max_pool
from facenet_core.storage import parquet, schemas

CROP_SIZE = 36


def draw(person: int, shot: int, size: int = CROP_SIZE) -> np.ndarray:
    """An image uint8 [size, size, 3]: the person's pattern in the shot's light."""
    pattern = np.random.default_rng(person).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    image = Image.fromarray(pattern).resize((size, size), Image.Resampling.BICUBIC)
    light = np.random.default_rng([person, shot]).normal(0, 12, (size, size, 3))
    return np.clip(np.asarray(image) + light, 0, 255).astype(np.uint8)


def encode(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_crops(
    root: str,
    people: Mapping[str, int],
    size: int = CROP_SIZE,
    parts: int = 2,
    wrong: Mapping[str, str] | None = None,
    crop: str | None = None,
) -> str:
    """URI of a crops artifact with so many images of each person, dealt out to the parts.

    Each image has a second face too, of which training must not take notice. `wrong` says whom an
    image shows instead of whom it is filed under; `crop` is said of the alignment.
    """
    wrong = wrong or {}
    numbers = {name: number for number, name in enumerate(people)}
    inputs = [storage.Input("raw", "0" * 16)]
    config = {"image_size": size, "people": dict(people), "wrong": dict(wrong)}
    if crop is not None:
        config["crop"] = crop
    plan = storage.plan_stage(root, "align", "faces", config, inputs, 1)
    images = [
        (name, person, shot)
        for person, (name, count) in enumerate(people.items())
        for shot in range(count)
    ]
    described = []
    for number in range(parts):
        part = f"crops/{parquet.part_name(number)}"
        uri = storage.join(plan.uri, part)
        with parquet.PartWriter(uri, schemas.CROPS, plan.fingerprint) as writer:
            for name, person, shot in images[number::parts]:
                person = numbers[wrong.get(f"{name}/{name}_{shot:04d}.jpg", name)]
                for face in (0, 1):
                    writer.write(
                        {
                            "image_id": f"{name}/{name}_{shot:04d}.jpg",
                            "identity": name,
                            "face_index": face,
                            "image": {"bytes": encode(draw(person, shot + 1000 * face, size))},
                            "box": [0.0] * 4,
                            "landmarks": [0.0] * 10,
                            "score": 1.0,
                        }
                    )
        described.append(parquet.describe_part(plan.uri, part))
    counts = {"images": len(images), "aligned": len(images), "crops": len(images) * 2}
    storage.publish(plan, storage.Outcome(described, {**counts, "rejects": 0}), {})
    return plan.uri


def tiny(*, image_size: int, embedding_size: int, keep_probability: float, **shared) -> keras.Model:
    """A network that compiles in a moment, with all kinds of layers that the large ones have."""
    layers = Layers(**shared)
    images = image_input(image_size, 8, "tiny")
    x = layers.conv(images, 8, 3, "conv1", strides=2)
    x = max_pool(x, 3, "pool1")
    x = layers.dropout(x, keep_probability)
    x = global_average(layers.linear_conv(x, 16, "conv2"), "pool2")
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="tiny")


def namesake(
    *, image_size: int, embedding_size: int, keep_probability: float, **shared
) -> keras.Model:
    """Another network, with layers of `tiny`'s names."""
    layers = Layers(**shared)
    images = image_input(image_size, 8, "namesake")
    x = layers.conv(images, 12, 3, "conv1", strides=2)
    x = layers.dropout(x, keep_probability)
    x = global_average(layers.linear_conv(x, 24, "conv2"), "pool2")
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="namesake")
