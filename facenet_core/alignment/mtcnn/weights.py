"""The weights of MTCNN, Zhang et al., "Joint Face Detection and Alignment using Multi-task
Cascaded Convolutional Networks" (2016), and their arrangement for the runtimes.

The weights are the published Caffe ones, in the files that the ``mtcnn`` package installs; its
code is not used. They are laid out for upright images: the convolution kernels are transposed
against the Caffe files, the dense kernels are not, hence a transposition before each flattening.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from facenet_core.errors import FacenetError

CANVAS = 304  # side of P-Net's input: holds four of the first levels (150x150) of an LFW image
BATCHES = {"rnet": 32, "onet": 8}  # candidates judged in one call
SIDES = {"rnet": 24, "onet": 48}  # of a candidate's picture, pixels

Weights = list[np.ndarray]
Network = Callable[[np.ndarray], np.ndarray]


class DetectorError(FacenetError):
    """The face detector cannot be set up as asked."""


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
