"""The variables of a TensorFlow 1 model, from a checkpoint or a frozen graph.

Nothing of the graph runs: a checkpoint is a table of arrays, and of a frozen graph only the
constants that variables were turned into are taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facenet_core import storage
from facenet_core.errors import ModelError
from facenet_core.extras import require_tensorflow
from facenet_core.models.formats.files import LARGEST_FILE, describe_content
from facenet_core.models.formats.variables import Variables, first_line

# What layers of TF-Slim call their variables.
_KINDS = ("weights", "biases", "beta", "gamma", "moving_mean", "moving_variance")


def open_checkpoint(source: str, stem: Path) -> Variables:
    """The arrays of a checkpoint, by its stem.

    Raises:
        ModelError: it is damaged, or something else.
    """
    require_tensorflow(f"{source}: a model of TensorFlow 1")
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(stem))
        shapes = {name: tuple(s) for name, s in reader.get_variable_to_shape_map().items()}
    except Exception as error:  # its own kinds
        with stem.with_name(f"{stem.name}.index").open("rb") as file:
            content = describe_content(file.read(8))
        raise ModelError(
            f"{source}.index: not the index of a checkpoint, {content} ({first_line(error)})"
        ) from None
    return Variables(source, shapes, reader.get_tensor)


def open_frozen(source: str, path: Path) -> Variables:
    """The constants of a frozen graph.

    Raises:
        ModelError: it is damaged, or has none.
    """
    require_tensorflow(f"{source}: a model of TensorFlow 1")
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import graph_pb2

    data = storage.read_local(path, LARGEST_FILE)
    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            f"{source}: not a frozen TensorFlow graph: {describe_content(data[:8])}"
        ) from None
    if not graph.node:
        raise ModelError(
            f"{source}: no nodes of a graph in it; of a SavedModel or a .pbtxt nothing can be "
            "taken, expected a frozen graph or the folder with the checkpoint"
        )
    constants = {node.name: node.attr["value"].tensor for node in graph.node if _is_variable(node)}
    if not constants:
        raise ModelError(
            f"{source}: a graph whose variables are not frozen into it ({len(graph.node)} nodes); "
            "name the folder with its checkpoint"
        )
    shapes = {
        name: tuple(d.size for d in tensor.tensor_shape.dim) for name, tensor in constants.items()
    }
    return Variables(source, shapes, lambda name: tf.make_ndarray(constants[name]))


def _is_variable(node: Any) -> bool:
    return node.op == "Const" and node.name.rpartition("/")[2] in _KINDS
