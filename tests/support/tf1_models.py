"""Models as TensorFlow 1 left them, written with `tf.compat.v1` from tables of variables."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

Shapes = Mapping[str, list[int]]
Weight = Callable[[str, tuple[int, ...]], np.ndarray]

# What training leaves in a checkpoint beside the network.
TRAINING = {
    "global_step": [],
    "centers": [5, 8],
    "Logits/weights": [8, 5],
    "Logits/biases": [5],
    "squeezenet/conv1/weights/Adam": [7, 7, 3, 96],
    "squeezenet/conv1/weights/Adam_1": [7, 7, 3, 96],
    "beta1_power": [],
    "total_loss/avg": [],
}


def reference(shared: Path, model: str) -> tuple[Shapes, Weight, dict[str, np.ndarray]]:
    """Variables, weights and expected numbers of a reference model, `squeezenet_128`."""
    folder = shared / "reference"
    spec = importlib.util.spec_from_file_location("tf1_weights", folder / "tf1_weights.py")
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    shapes = json.loads((folder / f"tf1_{model}_variables.json").read_text())
    numbers = dict(np.load(folder / f"tf1_{model}.npz"))
    return shapes, weights.reference_weight, numbers | {"images": weights.reference_images()}


def simple_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Small numbers that follow from the name's length; variances are positive."""
    start = 1.0 if name.endswith("moving_variance") else 0.0
    return (start + np.cos(len(name) + np.arange(np.prod(shape))).reshape(shape) / 9).astype("f")


def squeezenet_shapes(embedding_size: int = 8) -> dict[str, list[int]]:
    """The variables of SqueezeNet's graph."""
    from facenet_core.models.formats.weights import variable_name
    from facenet_core.models.networks import registry

    network = registry.build("squeezenet", image_size=32, embedding_size=embedding_size)
    return {variable_name(network, v): list(v.shape) for v in network.variables}


def write_checkpoint(
    folder: Path,
    shapes: Shapes,
    weight: Weight = simple_weight,
    name: str = "model-20170512-110547",
    step: int = 250000,
) -> Path:
    """A published folder: `.meta`, `.index`, `.data-00000-of-00001`."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for key, shape in shapes.items():
            _variable(session, key, weight(key, tuple(shape)))
        saver = tf.compat.v1.train.Saver()
        saver.save(session, str(folder / f"{name}.ckpt"), global_step=step, write_meta_graph=False)
        saver.export_meta_graph(str(folder / f"{name}.meta"))
    return folder


def write_frozen(file: Path, shapes: Shapes, weight: Weight = simple_weight) -> Path:
    """A frozen graph: each variable a constant, read through an `Identity`."""
    with tf.Graph().as_default() as graph:
        tf.compat.v1.placeholder(tf.float32, [None, 160, 160, 3], "image_batch")
        tf.constant(0.17, name="InceptionResnetV1/Repeat/block35_1/mul/x")
        for key, shape in shapes.items():
            tf.identity(tf.constant(weight(key, tuple(shape)), name=key), name=f"{key}/read")
        file.write_bytes(graph.as_graph_def().SerializeToString())
    return file


def _variable(session: tf.compat.v1.Session, name: str, value: np.ndarray) -> None:
    """A variable whose value is fed, not written into the graph."""
    feed = tf.compat.v1.placeholder(tf.float32, value.shape)
    variable = tf.compat.v1.get_variable(
        name, initializer=feed, validate_shape=True, use_resource=False
    )
    session.run(variable.initializer, {feed: value})
