"""The three networks of MTCNN, Zhang et al., "Joint Face Detection and Alignment using Multi-task
Cascaded Convolutional Networks" (2016): their interface, weights, and the engines that run them.

The weights are the published Caffe ones, in the files that the ``mtcnn`` package installs; its
code is not used. They are laid out for upright images: the convolution kernels are transposed
against the Caffe files, the dense kernels are not, hence a transposition before each flattening.

An engine is a module (``mtcnn_openvino``, ``mtcnn_tensorflow``) that compiles each network for one
shape: with the shapes fixed no time goes into adapting kernels, and the result for an image does
not depend on how many there are.
"""

from __future__ import annotations

import ctypes
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from facenet_core.errors import FacenetError

CANVAS = 304  # side of P-Net's input: holds four of the first levels (150x150) of an LFW image
BATCHES = {"rnet": 32, "onet": 8}  # candidates judged in one call
SIDES = {"rnet": 24, "onet": 48}  # of a candidate's picture, pixels

EngineName = Literal["openvino", "tensorflow"]
Weights = list[np.ndarray]
Network = Callable[[np.ndarray], np.ndarray]


class DetectorError(FacenetError):
    """The face detector cannot be set up as asked."""


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

    Here and not in the engines, because near 1 its rounding decides which of two windows comes
    first.
    """
    return 1 / (1 + np.exp(-logits))


def default_engine() -> EngineName:
    """OpenVINO where it is installed (the extra `cpu` brings it), else TensorFlow."""
    return "openvino" if find_spec("openvino") else "tensorflow"


def load_networks(engine: EngineName | None = None, threads: int | None = None) -> Networks:
    """Build the networks with their published weights.

    Args:
        engine: what runs them; default: see ``default_engine``.
        threads: of the engine and of OpenCV; for OpenCV and TensorFlow that is a setting of the
            whole process, which then also keeps freed memory. None leaves all that alone.

    Raises:
        DetectorError: the engine or the weights are not installed, or ``threads`` differs from
            what TensorFlow already runs with.
    """
    engine = engine or default_engine()
    if not find_spec(engine):
        raise DetectorError(
            f"The detector was asked to run on {engine}, which is not installed: "
            f"run 'pip install {engine}'."
        )
    if threads is not None:
        cv2.setNumThreads(threads)
        _keep_freed_memory()
    if engine == "openvino":
        from facenet_core.alignment.mtcnn.engines import openvino as chosen
    else:
        from facenet_core.alignment.mtcnn.engines import tensorflow as chosen
    proposal, refinement, output = chosen.compile_networks(
        *(load_weights(name) for name in ("pnet", "rnet", "onet")), threads
    )
    return Networks(
        proposal=lambda canvas: proposal(canvas[None])[0],
        refinement=_in_batches(refinement, BATCHES["rnet"]),
        output=_in_batches(output, BATCHES["onet"]),
    )


def _keep_freed_memory() -> None:
    """Have glibc's malloc keep up to 64 MB of freed memory, for the next image.

    It returns large arrays to the system at once, which hands them out again page by page, zeroed
    at the first access. By itself glibc grows out of that, up to the limits set here, but not where
    MALLOC_TRIM_THRESHOLD_ is set, as Dask does for its workers.
    """
    with suppress(AttributeError):  # other C libraries have no such function
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD
        mallopt(-1, 64 * 2**20)  # M_TRIM_THRESHOLD


def load_weights(name: str) -> Weights:
    """The arrays of one network, in the order of its layers: kernel, bias, PReLU slope, ..."""
    import joblib
    import lz4.frame

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
    # joblib decompresses as well, but closes its files so that Python 3.13 complains.
    content = io.BytesIO(lz4.frame.decompress(file.read_bytes()))
    return [np.squeeze(w) if w.ndim == 3 else w for w in joblib.load(content)]


@dataclass(frozen=True)
class FirstBlock:
    """P-Net's first convolution, arranged so that pooling may come before PReLU.

    PReLU then goes over the pooled image, a quarter as large. Where the slope is not negative PReLU
    is monotonous and may follow the pooling. Where it is, PReLU(x) is max(x, slope * x), the
    maximum of two convolutions, which are pooled each by itself. The fourth channel of the input
    is not 0 outside the levels: windows that end there get values that are no maximum.

    Attributes:
        kernel: ``[3, 3, 4, 16]``; outputs are the rising channels, then the falling ones, then the
            falling ones times their slope.
        bias: ``[16]``.
        slope: of the rising channels.
        order: of the original channels in what comes out, for the next kernel.
    """

    kernel: np.ndarray
    bias: np.ndarray
    slope: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, kernel: np.ndarray, bias: np.ndarray, slope: np.ndarray) -> FirstBlock:
        falling = slope < 0
        order = np.argsort(falling, kind="stable")
        kernel = np.concatenate([kernel[..., order], kernel[..., falling] * slope[falling]], -1)
        outside = np.zeros_like(kernel[:, :, :1])
        outside[-1, -1] = -1e6
        return cls(
            kernel=np.concatenate([kernel, outside], axis=2),
            bias=np.concatenate([bias[order], bias[falling] * slope[falling]]),
            slope=slope[~falling],
            order=order,
        )


def joined_heads(*heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of all heads of a network in one layer.

    Args:
        heads: kernel, bias, kernel, bias, ...; the first head's outputs are "none" and "a face",
            of which the difference is taken.
    """
    kernels, biases = list(heads[::2]), list(heads[1::2])
    kernels[0], biases[0] = (np.diff(array, axis=-1) for array in (kernels[0], biases[0]))
    return np.concatenate(kernels, axis=-1), np.concatenate(biases)


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
