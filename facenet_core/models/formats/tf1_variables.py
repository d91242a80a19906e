"""The variables of a TensorFlow 1 model, by name, from a checkpoint or a frozen graph.

Nothing of the graph runs: a checkpoint is a table of arrays, and of a frozen graph only the
constants that variables were turned into are taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facenet_core import storage
from facenet_core.errors import ModelError
from facenet_core.models.formats.tf1_files import LARGEST_FILE, Tf1Files, describe_content
from facenet_core.runtime import quietly

# What layers of TF-Slim call their variables.
KINDS = ("weights", "biases", "beta", "gamma", "moving_mean", "moving_variance")
_LARGEST_VARIABLE = 2**28  # values; the classifier of a million people on 128 dimensions has half


@dataclass(frozen=True)
class Variables:
    """Variables that are read when they are asked for.

    Attributes:
        source: named in messages.
        shapes: by name, without `:0`.
    """

    source: str
    shapes: Mapping[str, tuple[int, ...]]
    _read: Callable[[str], np.ndarray]

    def read(self, name: str) -> np.ndarray:
        """float32, in the variable's shape.

        Raises:
            ModelError: it is too large, damaged, of another type, or not finite.
        """
        if math.prod(self.shapes[name]) > _LARGEST_VARIABLE:
            raise ModelError(f"{self.source}: {name} {list(self.shapes[name])} is too large")
        try:
            value = np.asarray(self._read(name))
        except Exception as error:  # TensorFlow's kinds: a checksum, a short file
            raise ModelError(
                f"{self.source}: {name} cannot be read ({_first_line(error)}); fetch it again"
            ) from None
        if value.dtype.kind != "f":
            raise ModelError(f"{self.source}: {name} is {value.dtype}, expected float32")
        if not np.isfinite(value).all():
            raise ModelError(f"{self.source}: {name} holds numbers that are not finite")
        return value.astype(np.float32, copy=False)


@contextmanager
def open_variables(files: Tf1Files) -> Iterator[Variables]:
    """The variables in the files, for the time of the block.

    Raises:
        ModelError: the files are damaged or of another kind.
    """
    with files.local() as path:
        with quietly():
            read = _checkpoint if files.kind == "checkpoint" else _frozen
            variables = read(files.stem, path)
        yield variables


def _checkpoint(source: str, stem: Path) -> Variables:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(stem))
        shapes = {name: tuple(s) for name, s in reader.get_variable_to_shape_map().items()}
    except Exception as error:  # its own kinds
        with stem.with_name(f"{stem.name}.index").open("rb") as file:
            content = describe_content(file.read(8))
        raise ModelError(
            f"{source}.index: not the index of a checkpoint, {content} ({_first_line(error)})"
        ) from None
    return Variables(source, shapes, reader.get_tensor)


def _frozen(source: str, path: Path) -> Variables:
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
    return node.op == "Const" and node.name.rpartition("/")[2] in KINDS


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
