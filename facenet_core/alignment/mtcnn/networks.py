"""The three networks of MTCNN as functions of pixels, on whichever runtime is installed.

A runtime is a module of ``engines``. It compiles each network for one shape: with fixed shapes no
time goes into adapting kernels, and the result for an image does not depend on how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facenet_core.alignment.mtcnn.weights import BATCHES, Network, load_weights
from facenet_core.extras import DetectorRuntime, detector_runtime
from facenet_core.runtime import keep_freed_memory


@dataclass(frozen=True)
class Networks:
    """The cascade's networks. Pixels go in as 0 to 255, RGB.

    Of each window comes out, first, a logit: by how much "a face" outweighs "none", see
    ``probability``; then the offsets of x1, y1, x2, y2 as shares of the window's sides.

    Attributes:
        proposal: P-Net, of uint8 ``[CANVAS, CANVAS, 4]``, whose fourth channel is 255 outside the
            images on the canvas and 0 in them: float32 ``[147, 147, 5]``.
        refinement: R-Net, of float32 ``[n, 24, 24, 3]``: float32 ``[n, 5]``.
        output: O-Net, of float32 ``[n, 48, 48, 3]``: float32 ``[n, 15]``, after the offsets the
            landmarks, five x, then five y, as shares of the window's sides.
    """

    proposal: Network
    refinement: Network
    output: Network


def probability(logits: np.ndarray) -> np.ndarray:
    """Softmax over "a face" and "none", float32.

    Here and not in the runtimes, because near 1 its rounding decides which of two windows comes
    first.
    """
    return 1 / (1 + np.exp(-logits))


def load_networks(runtime: DetectorRuntime | None = None, threads: int | None = None) -> Networks:
    """Build the networks with their published weights.

    Args:
        runtime: default: see ``detector_runtime``.
        threads: of the runtime and of OpenCV; for OpenCV and TensorFlow that is a setting of the
            whole process, which then also keeps freed memory. None leaves all that alone.

    Raises:
        MissingPackage: the runtime is not installed.
        DetectorError: the weights are not installed, or ``threads`` differs from what TensorFlow
            already runs with.
    """
    runtime = detector_runtime(runtime or "auto")
    if threads is not None:
        cv2.setNumThreads(threads)
        keep_freed_memory()
    if runtime == "openvino":
        from facenet_core.alignment.mtcnn.engines.openvino import compile_networks
    else:
        from facenet_core.alignment.mtcnn.engines.tensorflow import compile_networks
    pnet, rnet, onet = (load_weights(name) for name in ("pnet", "rnet", "onet"))
    proposal, refinement, output = compile_networks(pnet, rnet, onet, threads)
    return Networks(
        proposal=lambda canvas: proposal(canvas[None])[0],
        refinement=_in_batches(refinement, BATCHES["rnet"]),
        output=_in_batches(output, BATCHES["onet"]),
    )


def _in_batches(network: Network, size: int) -> Network:
    """``network``, which takes ``size`` images, for any number of them."""

    def run(images: np.ndarray) -> np.ndarray:
        missing = -len(images) % size if len(images) else size
        if missing:
            filling = np.zeros((missing, *images.shape[1:]), np.float32)
            images = np.concatenate([images, filling])
        outputs = [network(images[i : i + size]) for i in range(0, len(images), size)]
        return np.concatenate(outputs)[: len(images) - missing]

    return run
