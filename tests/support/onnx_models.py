"""Small ONNX networks from images to embeddings, as other projects export them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, DIMENSIONS = 16, 8


def kernel(side: int = SIDE) -> np.ndarray:
    """Weights [s, s, 3, d] of a linear network, which so sees every pixel by itself."""
    random = np.random.default_rng(0)
    return random.normal(size=(side, side, 3, DIMENSIONS)).astype(np.float32)


def reference(images: np.ndarray) -> np.ndarray:
    """Embeddings of unit length, as `linear` gives them for images [n, s, s, 3] float32."""
    embeddings = np.tensordot(images, kernel(images.shape[1]), 3)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def linear(
    layout: str = "NCHW",
    batch: int | str = "n",
    side: int | str = SIDE,
    dtype: int = TensorProto.FLOAT,
    trailing: bool = False,
) -> onnx.ModelProto:
    """A convolution as large as the image, whose output is of no particular length.

    Args:
        trailing: the output is [n, d, 1, 1].
    """
    shape = [batch, 3, side, side] if layout == "NCHW" else [batch, side, side, 3]
    weights = kernel(side if isinstance(side, int) else SIDE).transpose(3, 2, 0, 1)
    nodes = []
    name = "data"
    if dtype != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [name], ["numbers"], to=TensorProto.FLOAT))
        name = "numbers"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [name], ["first"], perm=[0, 3, 1, 2]))
        name = "first"
    nodes.append(helper.make_node("Conv", [name, "weights"], ["pixels"]))
    if trailing:
        nodes.append(helper.make_node("Identity", ["pixels"], ["fc1"]))
    else:
        nodes.append(helper.make_node("Flatten", ["pixels"], ["fc1"]))
    outputs = [batch, DIMENSIONS, 1, 1] if trailing else [batch, DIMENSIONS]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("data", dtype, shape)],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(np.ascontiguousarray(weights), "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def arcface(batch: int | str = 1) -> onnx.ModelProto:
    """What InsightFace's networks look like from outside: [1, 3, 112, 112] -> [1, 512]."""
    random = np.random.default_rng(1)
    values = {
        "conv1": random.normal(size=(32, 3, 3, 3)) / 5,
        "slope": np.full((32, 1, 1), 0.25),
        "conv2": random.normal(size=(64, 32, 3, 3)) / 17,
        "fc": random.normal(size=(64 * 4, 512)) / 16,
    }
    nodes = [
        helper.make_node("Conv", ["input.1", "conv1"], ["a"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("Conv", ["b", "conv2"], ["c"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("AveragePool", ["c"], ["d"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "fc"], ["683"]),
    ]
    graph = helper.make_graph(
        nodes,
        "arcface",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [batch, 3, 112, 112])],
        [helper.make_tensor_value_info("683", TensorProto.FLOAT, [batch, 512])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def save(model: onnx.ModelProto, path: Path) -> str:
    path.write_bytes(model.SerializeToString())
    return str(path)
