"""Small artifacts to validate: crops of a few people, and a network that was never trained."""

from __future__ import annotations

import io

import keras
import numpy as np
import pyarrow as pa
from PIL import Image

from facenet_core import storage
from facenet_core.models.face_model import MODEL_FILE
from facenet_core.storage import parquet, schemas

SIZE, DIMENSIONS = 32, 8
PEOPLE, IMAGES = 12, 6


def image_id(person: int, image: int) -> str:
    return f"Person_{person}/Person_{person}_{image:04d}.jpg"


def crop(person: int, image: int, face: int = 0) -> dict:
    """A row of crops: a blurred pattern of the person's, with noise of the image's."""
    pattern = np.random.default_rng(person).integers(0, 200, (4, 4, 3))
    noise = np.random.default_rng([person, image, face]).integers(0, 56, (4, 4, 3))
    picture = Image.fromarray((pattern + noise).astype(np.uint8))
    buffer = io.BytesIO()
    picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return {
        "image_id": image_id(person, image),
        "identity": f"Person_{person}",
        "face_index": face,
        "image": {"bytes": buffer.getvalue(), "path": image_id(person, image)},
        "box": [0.0, 0.0, SIZE, SIZE],
        "landmarks": [0.0] * 10,
        "score": 1.0,
    }


def publish_crops(root: str, shards: list[list[dict]], rejects: list[dict]) -> str:
    name = storage.fingerprint([len(shard) for shard in shards])
    plan = storage.plan_stage(
        root, "align", "people", {"shards": name}, [storage.Input("raw", "0" * 16)], 1
    )
    parts = []
    for number, rows in enumerate(shards):
        for folder, schema, content in (
            ("crops", schemas.CROPS, rows),
            ("rejects", schemas.REJECTS, rejects if number == 0 else []),
        ):
            part = f"{folder}/{parquet.part_name(number)}"
            with parquet.PartWriter(storage.join(plan.uri, part), schema, plan.fingerprint) as file:
                for row in content:
                    file.write(row)
            parts.append(parquet.describe_part(plan.uri, part))
    crops = sum(map(len, shards))
    counts = {"images": crops + len(rejects), "aligned": crops, "crops": crops}
    storage.publish(plan, storage.Outcome(parts, {**counts, "rejects": len(rejects)}), {})
    return plan.uri


def publish_model(
    root: str,
    name: str,
    *,
    labels: tuple[str, ...] = (),
    bias: float = 0.2,
    network: keras.Model | None = None,
) -> str:
    config = {"labels": labels, "bias": str(bias)}
    plan = storage.plan_stage(root, "train", name, config, [], 1)
    network = network or keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.AveragePooling2D(8),
            keras.layers.Flatten(),
            keras.layers.Dense(
                DIMENSIONS,
                kernel_initializer=keras.initializers.RandomNormal(seed=0),
                bias_initializer=keras.initializers.Constant(bias),
            ),
        ]
    )
    with storage.new_file(storage.join(plan.uri, MODEL_FILE)) as path:
        local = path.parent / MODEL_FILE
        network.save(local)
        local.rename(path)
    history = pa.table(
        {"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.5], "learning_rate": [0.1, 0.1, 0.01]}
    )
    parquet.write_table(storage.join(plan.uri, "history.parquet"), history, plan.fingerprint)
    parts = [storage.describe_file(plan.uri, each) for each in (MODEL_FILE, "history.parquet")]
    details = {
        "model_def": network.name,
        "labels": labels,
        "image_size": SIZE,
        "embedding_size": network.output_shape[1],
        "use_fixed_image_standardization": False,
    }
    storage.publish(plan, storage.Outcome(parts, {}, details), {})
    return plan.uri
