"""MTCNN's networks on TensorFlow: the runtime for GPUs, and where OpenVINO is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facenet_core.alignment.mtcnn.weights import (
    BATCHES,
    CANVAS,
    SIDES,
    DetectorError,
    FirstBlock,
    Network,
    Weights,
    joined_heads,
)
from facenet_core.runtime import quietly

with quietly():
    import tensorflow as tf

Tensor = Any


def compile_networks(
    pnet: Weights, rnet: Weights, onet: Weights, threads: int | None
) -> tuple[Network, Network, Network]:
    """P-Net, R-Net and O-Net, each for inputs of one shape: see ``networks``.

    Raises:
        DetectorError: TensorFlow already runs with another number of threads.
    """
    with quietly():
        if threads is not None:
            _set_threads(threads)
        judge = _compiled(_pnet, pnet, tf.TensorSpec((1, CANVAS, CANVAS, 4), tf.uint8))
        refine, output = (
            _compiled(
                network,
                weights,
                tf.TensorSpec((BATCHES[name], SIDES[name], SIDES[name], 3), tf.float32),
            )
            for name, network, weights in (("rnet", _rnet, rnet), ("onet", _onet, onet))
        )
    return judge, refine, output


def _set_threads(threads: int) -> None:
    settings = tf.config.threading
    try:
        settings.set_intra_op_parallelism_threads(threads)
        settings.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        running = settings.get_intra_op_parallelism_threads()
        raise DetectorError(
            f"The detector was asked for threads={threads}, but TensorFlow already runs in this "
            f"process with {running or 'its default number'}. Build the detector before anything "
            "else uses TensorFlow, or pass threads=None."
        ) from error


def _compiled(
    network: Callable[[Tensor, Weights], Tensor], weights: Weights, spec: Tensor
) -> Network:
    graph = tf.function(lambda pixels: network(pixels, weights), input_signature=[spec])
    call = graph.get_concrete_function()
    return lambda pixels: call(tf.constant(pixels)).numpy()


def _normalise(images: Tensor) -> Tensor:
    return (tf.cast(images, tf.float32) - 127.5) * 0.0078125


def _conv(x: Tensor, kernel: np.ndarray, bias: np.ndarray) -> Tensor:
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)


def _dense(x: Tensor, kernel: np.ndarray, bias: np.ndarray) -> Tensor:
    return x @ kernel + bias


def _prelu(x: Tensor, slope: np.ndarray) -> Tensor:
    if slope.max() <= 1:
        return tf.maximum(x, slope * x)  # the same, and half the passes over memory
    return tf.nn.relu(x) + slope * tf.minimum(x, 0.0)


def _pool(x: Tensor, size: int, padding: str) -> Tensor:
    return tf.nn.max_pool2d(x, size, 2, padding)


def _flatten(x: Tensor) -> Tensor:
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (x.shape[0], -1))


def _pnet(pixels: Tensor, w: Weights) -> Tensor:
    # The fourth channel, the mask, stays.
    scale = np.array([0.0078125] * 3 + [1], np.float32)
    x = (tf.cast(pixels, tf.float32) - np.array([127.5] * 3 + [0], np.float32)) * scale
    first = FirstBlock.of(w[0], w[1], w[2])
    x = _pool(_conv(x, first.kernel, first.bias), 2, "SAME")
    rising, channels = len(first.slope), len(first.order)
    once = _prelu(x[..., :rising], first.slope)
    twice = tf.maximum(x[..., rising:channels], x[..., channels:])
    x = tf.concat([once, twice], axis=-1)
    x = _prelu(_conv(x, w[3][:, :, first.order], w[4]), w[5])
    x = _prelu(_conv(x, w[6], w[7]), w[8])
    return _conv(x, *joined_heads(w[11], w[12], w[9], w[10]))


def _rnet(images: Tensor, w: Weights) -> Tensor:
    x = _normalise(images)
    x = _pool(_prelu(_conv(x, w[0], w[1]), w[2]), 3, "SAME")
    x = _pool(_prelu(_conv(x, w[3], w[4]), w[5]), 3, "VALID")
    x = _flatten(_prelu(_conv(x, w[6], w[7]), w[8]))
    x = _prelu(_dense(x, w[9], w[10]), w[11])
    return _dense(x, *joined_heads(w[14], w[15], w[12], w[13]))


def _onet(images: Tensor, w: Weights) -> Tensor:
    x = _normalise(images)
    x = _pool(_prelu(_conv(x, w[0], w[1]), w[2]), 3, "SAME")
    x = _pool(_prelu(_conv(x, w[3], w[4]), w[5]), 3, "VALID")
    x = _pool(_prelu(_conv(x, w[6], w[7]), w[8]), 2, "SAME")
    x = _flatten(_prelu(_conv(x, w[9], w[10]), w[11]))
    x = _prelu(_dense(x, w[12], w[13]), w[14])
    return _dense(x, *joined_heads(w[19], w[20], w[15], w[16], w[17], w[18]))
