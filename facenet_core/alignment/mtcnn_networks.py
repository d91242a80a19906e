"""The three networks of MTCNN, Zhang et al., "Joint Face Detection and Alignment using Multi-task
Cascaded Convolutional Networks" (2016), as TensorFlow functions.

The weights are the published Caffe ones, in the files that the ``mtcnn`` package installs; its
code is not used. They are laid out for upright images: the convolution kernels are transposed
against the Caffe files, the dense kernels are not, hence the transposition before each flattening.

Every function is compiled for one shape. TensorFlow's oneDNN kernels spend about 3 ms whenever
the shape changes from one call to the next, which is as long as R-Net takes for 64 faces; and with
the shapes fixed, the result for an image does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facenet_core.engine import quietly
from facenet_core.errors import FacenetError

CANVAS = 304  # side of P-Net's input: holds four of the first levels (150x150) of an LFW image

_RNET_BATCHES = (64, 16)
_ONET_BATCHES = (16, 4)

Weights = list[np.ndarray]
Tensor = Any  # TensorFlow is imported late


class DetectorError(FacenetError):
    """The face detector cannot be set up as asked."""


@dataclass(frozen=True)
class Networks:
    """The cascade's networks. Pixels go in as 0 to 255, RGB.

    Attributes:
        proposal: P-Net, of uint8 ``[CANVAS, CANVAS, 4]``, whose fourth channel is 1 outside the
            images on the canvas and 0 in them: float32 ``[147, 147, 5]``, the probability of a
            face and the offsets of x1, y1, x2, y2.
        refinement: R-Net, of float32 ``[n, 24, 24, 3]``: probability ``[n]``, offsets ``[n, 4]``.
        output: O-Net, of float32 ``[n, 48, 48, 3]``: probability ``[n]``, offsets ``[n, 4]`` and
            landmarks ``[n, 10]`` (five x, then five y, as shares of the window's sides).
    """

    proposal: Callable[[np.ndarray], np.ndarray]
    refinement: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    output: Callable[[np.ndarray], tuple[np.ndarray, ...]]


def load_networks(threads: int | None = None) -> Networks:
    """Build the networks with their published weights.

    Args:
        threads: of TensorFlow (within and between operations) and of OpenCV, which are settings
            of the whole process; None leaves them alone.

    Raises:
        DetectorError: the weights are not installed, or ``threads`` differs from what TensorFlow
            already runs with.
    """
    with quietly():
        import tensorflow as tf

        if threads is not None:
            _set_threads(threads)
        canvas = tf.TensorSpec((CANVAS, CANVAS, 4), tf.uint8)
        pnet = _compiled(_pnet, _load_weights("pnet"), canvas)
        return Networks(
            proposal=lambda pixels: pnet(pixels)[0],
            refinement=_in_batches(_rnet, _load_weights("rnet"), 24, _RNET_BATCHES),
            output=_in_batches(_onet, _load_weights("onet"), 48, _ONET_BATCHES),
        )


def _set_threads(threads: int) -> None:
    import tensorflow as tf

    cv2.setNumThreads(threads)
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


def _load_weights(name: str) -> Weights:
    """The arrays of one network, in the order of its layers: kernel, bias, PReLU slope, ..."""
    import joblib

    package = find_spec("mtcnn")
    if package is None or package.origin is None:
        raise DetectorError(
            "The detector needs the weights in the package mtcnn: run 'pip install mtcnn'."
        )
    file = Path(package.origin).parent / "assets" / "weights" / f"{name}.lz4"
    if not file.is_file():
        raise DetectorError(
            f"The installed package mtcnn has no assets/weights/{file.name}; version 1.0.0 has: "
            "run 'pip install mtcnn==1.0.0'."
        )
    return [np.squeeze(w) if w.ndim == 3 else w for w in joblib.load(file)]


def _compiled(
    network: Callable[[Tensor, Weights], tuple[Tensor, ...]], weights: Weights, spec: Tensor
) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """``network`` for inputs of just this shape, from arrays to arrays."""
    import tensorflow as tf

    graph = tf.function(lambda pixels: network(pixels, weights), input_signature=[spec])
    call = graph.get_concrete_function()
    return lambda pixels: tuple(output.numpy() for output in call(tf.constant(pixels)))


def _in_batches(
    network: Callable[[Tensor, Weights], tuple[Tensor, ...]],
    weights: Weights,
    side: int,
    sizes: tuple[int, int],
) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """``network`` for any number of images: in large batches, the rest in small ones."""
    import tensorflow as tf

    large, small = sizes
    calls = {
        n: _compiled(network, weights, tf.TensorSpec((n, side, side, 3), tf.float32)) for n in sizes
    }

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        outputs = []
        start = 0
        while start < len(images) or not outputs:
            size = large if len(images) - start > large - small else small
            batch = images[start : start + size]
            missing = size - len(batch)
            if missing:
                batch = np.concatenate([batch, np.zeros((missing, side, side, 3), np.float32)])
            outputs.append([o[: size - missing] for o in calls[size](batch)])
            start += size
        return tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True))

    return run


def _normalise(images: Tensor) -> Tensor:
    import tensorflow as tf

    return (tf.cast(images, tf.float32) - 127.5) * 0.0078125


def _conv(x: Tensor, kernel: np.ndarray, bias: np.ndarray) -> Tensor:
    import tensorflow as tf

    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)


def _prelu(x: Tensor, slope: np.ndarray) -> Tensor:
    import tensorflow as tf

    if slope.max() <= 1:
        return tf.maximum(x, slope * x)  # the same, and half the passes over memory
    return tf.nn.relu(x) + slope * tf.minimum(x, 0.0)


def _pool(x: Tensor, size: int, padding: str) -> Tensor:
    import tensorflow as tf

    return tf.nn.max_pool2d(x, size, 2, padding)


def _flatten(x: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (x.shape[0], -1))


def _face_probability(logits: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.nn.softmax(logits)[..., 1]


def _pnet(pixels: Tensor, w: Weights) -> tuple[Tensor, ...]:
    import tensorflow as tf

    # The fourth channel is 0 or 1, and stays.
    scale = np.array([0.0078125] * 3 + [1], np.float32)
    x = (tf.cast(pixels[None], tf.float32) - np.array([127.5] * 3 + [0], np.float32)) * scale
    x, order = _pnet_first_block(x, w[0], w[1], w[2])
    x = _prelu(_conv(x, w[3][:, :, order], w[4]), w[5])
    x = _prelu(_conv(x, w[6], w[7]), w[8])
    # Both heads in one convolution.
    x = _conv(x, np.concatenate([w[11], w[9]], -1), np.concatenate([w[12], w[10]]))
    face = 1 / (1 + tf.exp(x[..., :1] - x[..., 1:2]))  # softmax over two, at a tenth of its time
    return (tf.concat([face, x[..., 2:]], axis=-1)[0],)


def _pnet_first_block(
    x: Tensor, kernel: np.ndarray, bias: np.ndarray, slope: np.ndarray
) -> tuple[Tensor, np.ndarray]:
    """Convolution, PReLU and 2x2 max pooling, and the order in which the channels come.

    PReLU goes over the pooled image, a quarter as large. Where the slope is not negative PReLU is
    monotonous and may follow the pooling. Where it is, PReLU(x) is max(x, slope * x), the maximum
    of two convolutions, which are pooled each by itself. The fourth channel of ``x`` is 1 outside
    the levels: windows that end there get values that are no maximum.
    """
    import tensorflow as tf

    falling = slope < 0
    order = np.argsort(falling, kind="stable")
    rising, channels = np.count_nonzero(~falling), len(slope)
    kernel = np.concatenate([kernel[..., order], kernel[..., falling] * slope[falling]], axis=-1)
    bias = np.concatenate([bias[order], bias[falling] * slope[falling]])
    outside = np.zeros_like(kernel[:, :, :1])
    outside[-1, -1] = -1e6
    x = _pool(_conv(x, np.concatenate([kernel, outside], axis=2), bias), 2, "SAME")
    once = _prelu(x[..., :rising], slope[~falling])
    twice = tf.maximum(x[..., rising:channels], x[..., channels:])
    return tf.concat([once, twice], axis=-1), order


def _rnet(images: Tensor, w: Weights) -> tuple[Tensor, ...]:
    x = _normalise(images)
    x = _pool(_prelu(_conv(x, w[0], w[1]), w[2]), 3, "SAME")
    x = _pool(_prelu(_conv(x, w[3], w[4]), w[5]), 3, "VALID")
    x = _flatten(_prelu(_conv(x, w[6], w[7]), w[8]))
    x = _prelu(x @ w[9] + w[10], w[11])
    return _face_probability(x @ w[14] + w[15]), x @ w[12] + w[13]


def _onet(images: Tensor, w: Weights) -> tuple[Tensor, ...]:
    x = _normalise(images)
    x = _pool(_prelu(_conv(x, w[0], w[1]), w[2]), 3, "SAME")
    x = _pool(_prelu(_conv(x, w[3], w[4]), w[5]), 3, "VALID")
    x = _pool(_prelu(_conv(x, w[6], w[7]), w[8]), 2, "SAME")
    x = _flatten(_prelu(_conv(x, w[9], w[10]), w[11]))
    x = _prelu(x @ w[12] + w[13], w[14])
    return _face_probability(x @ w[19] + w[20]), x @ w[15] + w[16], x @ w[17] + w[18]
