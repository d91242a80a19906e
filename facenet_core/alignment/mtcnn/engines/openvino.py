"""MTCNN's networks on OpenVINO, the faster runtime on a CPU: see docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from facenet_core.alignment.mtcnn.weights import (
    BATCHES,
    CANVAS,
    SIDES,
    FirstBlock,
    Network,
    Weights,
    joined_heads,
)

Node = Any


def compile_networks(
    pnet: Weights, rnet: Weights, onet: Weights, threads: int | None
) -> tuple[Network, Network, Network]:
    """P-Net, R-Net and O-Net, each for inputs of one shape: see ``networks``."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where the processor has it
        "ENABLE_CPU_PINNING": False,  # every worker would pin itself to the same core
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = ov.Core()
    models = _pnet(pnet), _rnet(rnet), _onet(onet)
    judge, refine, output = (_runner(core.compile_model(m, "CPU", settings)) for m in models)
    return judge, refine, output


def _runner(model: ov.CompiledModel) -> Network:
    request = model.create_infer_request()

    def run(pixels: np.ndarray) -> np.ndarray:
        request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
        request.infer()
        return request.get_output_tensor().data.copy()

    return run


def _pnet(w: Weights) -> ov.Model:
    pixels = op.parameter([1, CANVAS, CANVAS, 4], np.uint8)
    # The fourth channel, the mask, stays.
    shift, scale = (np.array([v] * 3 + [u], np.float32) for v, u in ((127.5, 0), (0.0078125, 1)))
    first = FirstBlock.of(w[0], w[1], w[2])
    x = _pool(_conv(_channels_first(pixels, shift, scale), first.kernel, first.bias), 2, "ceil")
    rising = len(first.slope)
    falling = len(first.order) - rising
    parts = op.variadic_split(x, _constant(1), _constant([rising, falling, falling]))
    once = _prelu(parts.output(0), first.slope)
    twice = op.maximum(parts.output(1), parts.output(2))
    x = op.concat([once, twice], 1)
    x = _prelu(_conv(x, w[3][:, :, first.order], w[4]), w[5])
    x = _prelu(_conv(x, w[6], w[7]), w[8])
    x = _conv(x, *joined_heads(w[11], w[12], w[9], w[10]))
    return ov.Model([op.transpose(x, _constant([0, 2, 3, 1]))], [pixels])


def _rnet(w: Weights) -> ov.Model:
    pixels = op.parameter([BATCHES["rnet"], SIDES["rnet"], SIDES["rnet"], 3], np.float32)
    x = _channels_first(pixels, np.float32(127.5), np.float32(0.0078125))
    x = _pool(_prelu(_conv(x, w[0], w[1]), w[2]), 3, "ceil")
    x = _pool(_prelu(_conv(x, w[3], w[4]), w[5]), 3, "floor")
    x = _flatten(_prelu(_conv(x, w[6], w[7]), w[8]), BATCHES["rnet"])
    x = _prelu(_dense(x, w[9], w[10]), w[11])
    return ov.Model([_dense(x, *joined_heads(w[14], w[15], w[12], w[13]))], [pixels])


def _onet(w: Weights) -> ov.Model:
    pixels = op.parameter([BATCHES["onet"], SIDES["onet"], SIDES["onet"], 3], np.float32)
    x = _channels_first(pixels, np.float32(127.5), np.float32(0.0078125))
    x = _pool(_prelu(_conv(x, w[0], w[1]), w[2]), 3, "ceil")
    x = _pool(_prelu(_conv(x, w[3], w[4]), w[5]), 3, "floor")
    x = _pool(_prelu(_conv(x, w[6], w[7]), w[8]), 2, "ceil")
    x = _flatten(_prelu(_conv(x, w[9], w[10]), w[11]), BATCHES["onet"])
    x = _prelu(_dense(x, w[12], w[13]), w[14])
    heads = joined_heads(w[19], w[20], w[15], w[16], w[17], w[18])
    return ov.Model([_dense(x, *heads)], [pixels])


def _constant(value: Any) -> Node:
    return op.constant(value)


def _channels_first(
    pixels: Node, shift: np.ndarray | np.float32, scale: np.ndarray | np.float32
) -> Node:
    """From [n, h, w, c] to [n, c, h, w], normalised."""
    x = op.subtract(op.convert(pixels, np.float32), _constant(shift))
    x = op.multiply(x, _constant(scale))
    # Transposed last, where that costs nothing: the convolutions want channels innermost.
    return op.transpose(x, _constant([0, 3, 1, 2]))


def _conv(x: Node, kernel: np.ndarray, bias: np.ndarray) -> Node:
    kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    x = op.convolution(x, _constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
    return op.add(x, _constant(bias.reshape(1, -1, 1, 1)))


def _prelu(x: Node, slope: np.ndarray) -> Node:
    if slope.max() > 1 or len(x.shape) == 2:
        return op.prelu(x, _constant(slope))
    # The same to the bit. A convolution with PReLU in it takes longer than the two apart.
    return op.maximum(x, op.multiply(x, _constant(slope.reshape(1, -1, 1, 1))))


def _pool(x: Node, size: int, rounding: str) -> Node:
    """Maxima over ``size`` x ``size``, at every second place; `ceil` counts cut windows, too."""
    return op.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [size, size], rounding).output(0)


def _dense(x: Node, kernel: np.ndarray, bias: np.ndarray) -> Node:
    return op.add(op.matmul(x, _constant(kernel), False, False), _constant(bias.reshape(1, -1)))


def _flatten(x: Node, count: int) -> Node:
    """As Caffe's Matlab interface did: column by column, channels innermost."""
    return op.reshape(op.transpose(x, _constant([0, 3, 2, 1])), _constant([count, -1]), False)
