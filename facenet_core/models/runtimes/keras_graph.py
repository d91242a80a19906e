"""OpenVINO's model of a `.keras` file, built without Keras, whose import alone takes seconds.

It knows the layers that `models.networks` is built of, and the operations that `facenet export`
puts around them. A file with any other is `Unsupported`; Keras itself can run it.

A `.keras` file is a zip. Its `config.json` lists the layers, each after those whose outputs it
takes. Its `model.weights.h5` has the variables of a layer under
`layers/{kind}_{number among those of its kind}/vars/{number}`.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openvino as ov
from openvino import opset14 as op

from facenet_core import storage
from facenet_core.errors import ModelError
from facenet_core.extras import install
from facenet_core.models import finite
from facenet_core.models.face_model import MODEL_FILE, FaceModel
from facenet_core.models.formats import keras_file
from facenet_core.models.standardization import (
    PIXELS,
    SMALLEST_SQUARED_NORM,
    Standardization,
)

Node = Any  # of OpenVINO, which has no types
Config = Mapping[str, Any]

# Of Keras' [n, h, w, c] in OpenVINO's [n, c, h, w].
_AXES = {0: 0, 1: 2, 2: 3, 3: 1, -1: 1}


class Unsupported(ModelError):
    """A network with a layer that this module does not build."""


def _unsupported(name: str, what: object) -> Unsupported:
    """The error of a file that has something in it which only Keras runs."""
    return Unsupported(f"{name}: {what}: only Keras runs it: {install('cpu')}")


@dataclass(frozen=True)
class Graph:
    """A file's network for OpenVINO.

    Attributes:
        model: from `image` uint8 [n, s, s, 3] RGB to `embedding` float32 [n, d] of unit length.
        name: that Keras gives the network.
        image_size: s, pixels.
        embedding_size: d.
        variables: how many it has.
        values: of all its variables.
    """

    model: ov.Model
    name: str
    image_size: int
    embedding_size: int
    variables: int
    values: int


def build(model: FaceModel) -> Graph:
    """The graph of a model.

    Raises:
        Unsupported: it has a layer that this module does not know.
        ModelError, ArtifactError: its file cannot be read.
    """
    with storage.temporary_folder() as folder:
        if model.file is not None:
            return read(keras_file.fetch(model.file, folder), model.file, model.standardization)
        model.network.save(folder / MODEL_FILE)
        return read(folder / MODEL_FILE, model.name, model.standardization)


def read(path: Path, name: str, standardization: Standardization) -> Graph:
    """The graph of a file.

    Args:
        path: of a `.keras` file that passed `keras_file.check`.
        name: of the file, for messages.
        standardization: what its network takes; `PIXELS`: standardisation and unit length are
            inside.

    Raises:
        Unsupported: it has a layer that this module does not know.
        ModelError: its weights are missing, of the wrong shape, not finite, or outside of it.
    """
    with zipfile.ZipFile(path) as archive:
        weights = archive.extract(keras_file.WEIGHTS, path.parent)
        config = json.loads(archive.read(keras_file.CONFIG))
    try:
        with h5py.File(weights) as file:
            return _Reader(file, name, keras_file.most_values(path)).graph(config, standardization)
    except OSError as error:
        raise ModelError(f"{name}: not a Keras model that can be read: {error}") from error
    # RuntimeError: OpenVINO makes no network of it.
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _unsupported(name, f"described otherwise than our networks ({error!r})") from error


@dataclass
class _Reader:
    """One file, and what was read of it.

    Attributes:
        most: values that it can hold.
        values: of the variables read.
        variables: how many were read.
        broken: those with values that are not finite.
    """

    file: h5py.File
    name: str
    most: int
    values: int = 0
    variables: int = 0
    broken: list[str] = field(default_factory=list)

    def graph(self, config: Config, standardization: Standardization) -> Graph:
        self.require(config["class_name"] == "Functional", config["class_name"])
        source = _input_layer(config["config"])["config"]
        size, shape, dtype = source["batch_shape"][1], source["batch_shape"], source["dtype"]
        if standardization == PIXELS:
            keras_file.require_pixels([dtype], shape, self.name)
        self.require(shape == [None, size, size, 3], f"images of the shape {shape}")
        image = op.parameter([-1, size, size, 3], np.uint8, name="image")
        x = op.transpose(image, np.array([0, 3, 1, 2])).output(0)
        if standardization == PIXELS:
            x = self.functional(config["config"], x, "")
        else:
            self.require(dtype == "float32", f"images of {dtype}")
            x = _standardize(x, size, standardization).output(0)
            x = self.functional(config["config"], x, "")
            squared = op.reduce_sum(op.multiply(x, x), np.array([1]), True)
            x = op.divide(x, op.sqrt(op.maximum(squared, np.float32(SMALLEST_SQUARED_NORM))))
        finite.refuse(self.broken, self.variables, self.name)
        model = ov.Model([op.result(x, name="embedding")], [image])
        self.require(len(model.output().partial_shape) == 2, "outputs that are no embeddings")
        dimensions = model.output().partial_shape[1].get_length()
        name = config["config"]["name"]
        return Graph(model, name, size, dimensions, self.variables, self.values)

    def functional(self, config: Config, x: Node, prefix: str) -> Node:
        """A network of one input and one output.

        Args:
            prefix: of its layers in the file of weights.
        """
        source = _input_layer(config)["name"]
        outputs = {source: x}
        numbers: Counter[str] = Counter()
        for described in config["layers"]:
            kind, name = described["class_name"], described["name"]
            group = f"{prefix}layers/{_GROUPS.get(kind, kind)}"
            group += f"_{numbers[kind]}" if numbers[kind] else ""
            numbers[kind] += 1
            if name == source:
                continue
            self.require(described["module"].startswith("keras."), described["module"])
            self.require(len(described["inbound_nodes"]) == 1, f"{kind} that is used twice")
            [call] = described["inbound_nodes"]
            self.require(not any(call["kwargs"].values()), f"{kind} with {call['kwargs']}")
            inputs = [_resolve(argument, outputs) for argument in call["args"]]
            if kind == "Functional":
                [x] = inputs
                outputs[name] = self.functional(described["config"], x, f"{group}/")
                continue
            self.require(kind in _BUILD, kind)
            layer = _Layer(self, kind, described["config"], f"{group}/vars")
            layer.require(dtype="float32")
            built = _BUILD[kind](layer, *inputs)
            outputs[name] = built.output(0) if isinstance(built, ov.Node) else built
        return outputs[_single(config["output_layers"])]

    def require(self, supported: bool, what: object) -> None:
        """Raises Unsupported unless `supported`."""
        if not supported:
            raise _unsupported(self.name, what)

    def array(self, path: str, shape: Sequence[int]) -> np.ndarray:
        """A variable, float32; its shape is checked before any of it is read.

        Raises:
            ModelError: the file cannot hold it, has none of this shape, or it lies outside.
        """
        self.values += math.prod(shape)
        keras_file.refuse_more(self.values, self.most, self.name)
        node: Any = self.file
        for part in path.split("/"):
            # Other links may lead to other files.
            inside = isinstance(node, h5py.Group) and isinstance(
                node.get(part, getlink=True), h5py.HardLink
            )
            if not inside:
                raise ModelError(f"{self.name}: its weights have no {path}; it is damaged")
            node = node[part]
        if not isinstance(node, h5py.Dataset) or node.shape != tuple(shape):
            raise ModelError(f"{self.name}: {path}: expected weights of the shape {[*shape]}")
        if node.external or node.is_virtual or node.dtype.kind != "f":
            raise ModelError(f"{self.name}: {path}: expected numbers that lie in the file itself")
        array = node[()].astype(np.float32, copy=False)
        self.variables += 1
        if not np.isfinite(array).all():
            self.broken.append(path)
        return array


@dataclass(frozen=True)
class _Layer:
    """One layer as it is described; `group` has its variables."""

    reader: _Reader
    kind: str
    config: Config
    group: str

    def __getitem__(self, key: str) -> Any:
        return self.config[key]

    def require(self, **settings: object) -> None:
        """Raises Unsupported where a setting that is there has another value."""
        for key, expected in settings.items():
            value = self.config.get(key, expected)
            if isinstance(value, dict):  # a DTypePolicy
                value = value["config"]["name"]
            self.reader.require(value == expected, f"{self.kind} with {key}: {value}")

    def variables(self, *shapes: Sequence[int]) -> list[np.ndarray]:
        """Its variables, which must have these shapes."""
        return [
            self.reader.array(f"{self.group}/{number}", shape)
            for number, shape in enumerate(shapes)
        ]


def _input_layer(config: Config) -> Config:
    [source] = [layer for layer in config["layers"] if layer["class_name"] == "InputLayer"]
    return source


def _single(references: list[Any]) -> str:
    """The layer's name of `[name, 0, 0]` or of `[[name, 0, 0]]`."""
    [name, *_] = references if isinstance(references[0], str) else references[0]
    return name


def _resolve(argument: Any, outputs: Mapping[str, Node]) -> Any:
    """What a layer is called with: another's output, several of them, or a number."""
    if isinstance(argument, list):
        return [_resolve(one, outputs) for one in argument]
    if isinstance(argument, dict):
        return outputs[argument["config"]["keras_history"][0]]
    return np.float32(argument)


def _standardize(x: Node, size: int, standardization: Standardization) -> Node:
    """As `preprocessing.standardize`: uint8 [n, 3, size, size] -> float32."""
    x = op.convert(x, np.float32)
    if standardization.mean is not None:
        mean, deviation = (
            np.array(values, np.float32).reshape(1, 3, 1, 1)
            for values in (standardization.mean, standardization.deviation)
        )
        return op.divide(op.subtract(x, mean), deviation)
    axes = np.array([1, 2, 3])
    x = op.subtract(x, op.reduce_mean(x, axes, True))
    deviation = op.sqrt(op.reduce_mean(op.multiply(x, x), axes, True))
    return op.divide(x, op.maximum(deviation, np.float32(1 / math.sqrt(3 * size * size))))


def _channels(x: Node) -> int:
    return x.get_partial_shape().get_dimension(1).get_length()


def _activate(layer: _Layer, x: Node) -> Node:
    layer.reader.require(layer["activation"] in ("linear", "relu"), layer["activation"])
    return op.relu(x) if layer["activation"] == "relu" else x


def _conv(layer: _Layer, x: Node) -> Node:
    layer.require(data_format="channels_last", groups=1)
    shape = (*layer["kernel_size"], _channels(x), layer["filters"])
    kernel, *bias = layer.variables(shape, *([shape[-1:]] if layer["use_bias"] else []))
    kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    strides, dilations = layer["strides"], layer["dilation_rate"]
    x = op.convolution(x, kernel, strides, [0, 0], [0, 0], dilations, _PADDING[layer["padding"]])
    return _activate(layer, op.add(x, bias[0].reshape(1, -1, 1, 1)) if bias else x)


def _dense(layer: _Layer, x: Node) -> Node:
    layer.reader.require(len(x.get_partial_shape()) == 2, "Dense of images")
    shape = (_channels(x), layer["units"])
    kernel, *bias = layer.variables(shape, *([shape[-1:]] if layer["use_bias"] else []))
    x = op.matmul(x, kernel, False, False)
    return _activate(layer, op.add(x, bias[0][None]) if bias else x)


def _batch_norm(layer: _Layer, x: Node) -> Node:
    layer.require(axis=-1, renorm=False)
    shape = [_channels(x)]
    shapes = [shape] * (2 + layer["scale"] + layer["center"])
    *factors, mean, variance = layer.variables(*shapes)
    gamma = factors.pop(0) if layer["scale"] else np.ones(shape, np.float32)
    beta = factors.pop(0) if layer["center"] else np.zeros(shape, np.float32)
    return op.batch_norm_inference(x, gamma, beta, mean, variance, layer["epsilon"])


def _max_pool(layer: _Layer, x: Node) -> Node:
    layer.require(data_format="channels_last")
    strides, size, padding = layer["strides"], layer["pool_size"], _PADDING[layer["padding"]]
    return op.max_pool(x, strides, [1, 1], [0, 0], [0, 0], size, auto_pad=padding)


def _average_pool(layer: _Layer, x: Node) -> Node:
    layer.require(data_format="channels_last")
    strides, size, padding = layer["strides"], layer["pool_size"], _PADDING[layer["padding"]]
    return op.avg_pool(x, strides, [0, 0], [0, 0], size, True, auto_pad=padding)


def _global_average(layer: _Layer, x: Node) -> Node:
    layer.require(data_format="channels_last", keepdims=False)
    return op.reduce_mean(x, np.array([2, 3]), False)


def _concatenate(layer: _Layer, xs: list[Node]) -> Node:
    layer.require(axis=-1)
    return op.concat(xs, 1)


def _add(layer: _Layer, xs: list[Node]) -> Node:
    first, second = xs
    return op.add(first, second)


def _rescaling(layer: _Layer, x: Node) -> Node:
    x = op.convert(x, np.float32)
    return op.add(op.multiply(x, np.float32(layer["scale"])), np.float32(layer["offset"]))


def _reduction(reduce: Callable[[Node, np.ndarray, bool], Node]) -> Callable[[_Layer, Node], Node]:
    def build(layer: _Layer, x: Node) -> Node:
        axes = np.atleast_1d(layer["axis"]).tolist()
        if len(x.get_partial_shape()) == 4:
            axes = [_AXES[axis] for axis in axes]
        return reduce(x, np.array(axes), layer["keepdims"])

    return build


def _function(function: Callable[..., Node]) -> Callable[..., Node]:
    return lambda layer, *inputs: function(*inputs)


_PADDING = {"valid": "valid", "same": "same_upper"}
_BUILD: Mapping[str, Callable[..., Node]] = {
    "Conv2D": _conv,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Activation": _activate,
    "MaxPooling2D": _max_pool,
    "AveragePooling2D": _average_pool,
    "GlobalAveragePooling2D": _global_average,
    "Concatenate": _concatenate,
    "Add": _add,
    "Rescaling": _rescaling,
    "Dropout": _function(lambda x: x),
    "Identity": _function(lambda x: x),
    # Operations, as `preprocessing.standardize` and `FaceModel.pixels_to_embeddings` use them.
    "Cast": _function(lambda x: op.convert(x, np.float32)),
    "Subtract": _function(op.subtract),
    "Multiply": _function(op.multiply),
    "TrueDivide": _function(op.divide),
    "Maximum": _function(op.maximum),
    "Square": _function(lambda x: op.multiply(x, x)),
    "Sqrt": _function(op.sqrt),
    "Rsqrt": _function(lambda x: op.divide(np.float32(1), op.sqrt(x))),
    "Mean": _reduction(op.reduce_mean),
    "Sum": _reduction(op.reduce_sum),
}
# The names of the kinds that have variables, in the file of weights.
_GROUPS = {
    "Conv2D": "conv2d",
    "Dense": "dense",
    "BatchNormalization": "batch_normalization",
    "Functional": "functional",
}
