"""MTCNN, the face detector, over many images at once.

Finds the faces that the original's ``align/detect_face.py`` finds with the same parameters. Where
that runs three networks on one image at a time, here the pyramids, and then the candidates, of all
images share the passes through the networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from facenet_core.alignment.mtcnn.networks import load_networks, probability
from facenet_core.alignment.mtcnn.proposals import propose
from facenet_core.alignment.mtcnn.pyramid import (
    CELL,
    as_floats,
    cut_out,
    pyramid,
    pyramid_scales,
    shift_corners,
    to_squares,
)
from facenet_core.alignment.mtcnn.suppression import suppress
from facenet_core.alignment.mtcnn.weights import Network
from facenet_core.extras import DetectorRuntime
from facenet_core.imaging.pixels import require_rgb

_CUT_OUTS = 128  # so many candidates' pixels are in memory at a time: they stay in the caches
_PIXELS = 8_000_000  # of the images that share the passes: bounds the memory


@dataclass(frozen=True)
class Detections:
    """The faces of one image, by descending score.

    Attributes:
        boxes: float32 ``[n, 4]``: x1, y1, x2, y2 in pixels; they may reach over the edge.
        scores: float32 ``[n]``, O-Net's probability of a face.
        landmarks: float32 ``[n, 10]``: x, y of the left eye, right eye, nose, left and right mouth
            corner (left as seen in the picture), in pixels.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class _Candidates:
    """Windows in the images of a batch.

    Attributes:
        image: int ``[n]``, the number of the image; ascending.
        boxes: float64 ``[n, 4]``.
        scores: float32 ``[n]``.
    """

    image: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: np.ndarray | slice) -> _Candidates:
        return _Candidates(self.image[rows], self.boxes[rows], self.scores[rows])


class MTCNN:
    """Multi-task cascaded CNNs, Zhang et al. 2016.

    Args:
        minsize: side of the smallest face to find, in pixels, at least 12: P-Net's window.
        thresholds: the least probabilities that pass P-Net, R-Net and O-Net.
        factor: between one level of the image pyramid and the next.
        runtime: of the networks, see ``load_networks``.
        threads: of the runtime and of OpenCV; None leaves them as they are.

    Raises:
        DetectorError: see ``load_networks``.
        ValueError: a parameter is out of its range.

    Example:
        >>> detector = MTCNN(threads=1)
        >>> [faces] = detector.detect([decode(Path("photo.jpg").read_bytes())])
        >>> faces.boxes[0], faces.scores[0]
    """

    def __init__(
        self,
        *,
        minsize: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        runtime: DetectorRuntime | None = None,
        threads: int | None = None,
    ) -> None:
        if minsize < CELL:
            raise ValueError(f"minsize is a number of pixels, at least {CELL}, not {minsize}")
        if not 0 < factor < 1:
            raise ValueError(f"factor shrinks the image, so it lies between 0 and 1, not {factor}")
        self.minsize = minsize
        self.thresholds = thresholds
        self.factor = factor
        self._networks = load_networks(runtime, threads)

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """The faces of each image.

        Args:
            images: any number of uint8 RGB ``[h, w, 3]``, of any sizes. What is found in one does
                not depend on the others.

        Returns:
            One ``Detections`` for each image, in order; empty where there is no face.

        Raises:
            ValueError: an array is not uint8 ``[h, w, 3]``, or it is not in a list.
        """
        if isinstance(images, np.ndarray) and images.ndim < 4:
            raise ValueError("detect takes several images; for one: detect([image])")
        for number, image in enumerate(images):
            require_rgb(image, f"image {number}")
        detections: list[Detections] = []
        for batch in _batches(images):
            candidates = self._refine(batch, self._propose(batch))
            detections += self._output(batch, candidates)
        return detections

    def _propose(self, images: Sequence[np.ndarray]) -> _Candidates:
        """P-Net over the pyramids of all images, suppression, regression, squares."""
        scales = [pyramid_scales(i.shape[0], i.shape[1], self.minsize, self.factor) for i in images]
        proposals = propose(
            self._networks.proposal,
            [level for p in zip(images, scales, strict=True) for level in pyramid(*p)],
            [scale for image_scales in scales for scale in image_scales],
            self.thresholds[0],
        )
        keep = suppress(proposals.windows, proposals.scores, proposals.level, 0.5, "union")
        windows, scores = proposals.windows[keep], proposals.scores[keep]
        offsets, level = proposals.offsets[keep], proposals.level[keep]
        image = np.repeat(np.arange(len(images)), [len(s) for s in scales])[level]
        keep = suppress(windows, scores, image, 0.7, "union")
        boxes = shift_corners(windows[keep], offsets[keep], inclusive=False)
        return _Candidates(image[keep], np.fix(to_squares(boxes)), scores[keep])

    def _refine(self, images: Sequence[np.ndarray], candidates: _Candidates) -> _Candidates:
        """R-Net, suppression, regression, squares."""
        candidates, offsets = _judge(
            self._networks.refinement, 24, images, candidates, self.thresholds[1]
        )
        keep = suppress(candidates.boxes, candidates.scores, candidates.image, 0.7, "union")
        boxes = shift_corners(candidates.boxes[keep], offsets[keep], inclusive=True)
        return _Candidates(
            candidates.image[keep], np.fix(to_squares(boxes)), candidates.scores[keep]
        )

    def _output(self, images: Sequence[np.ndarray], candidates: _Candidates) -> list[Detections]:
        """O-Net, regression, landmarks, suppression."""
        candidates, output = _judge(
            self._networks.output, 48, images, candidates, self.thresholds[2]
        )
        offsets, points = output[:, :4], output[:, 4:]
        corners = candidates.boxes[:, None, :2]
        sides = candidates.boxes[:, None, 2:] - corners + 1
        # O-Net gives five x, then five y.
        landmarks = points.reshape(-1, 2, 5).transpose(0, 2, 1) * sides + corners - 1
        boxes = shift_corners(candidates.boxes, offsets, inclusive=True)
        faces = _Candidates(candidates.image, boxes, candidates.scores)
        keep = suppress(faces.boxes, faces.scores, faces.image, 0.7, "smaller")
        faces, landmarks = faces[keep], landmarks[keep].reshape(-1, 10)
        detections = []
        for i in range(len(images)):
            rows = _rows(faces, i)
            detections.append(
                Detections(
                    boxes=faces.boxes[rows].astype(np.float32),
                    scores=faces.scores[rows],
                    landmarks=landmarks[rows].astype(np.float32),
                )
            )
        return detections


def _judge(
    network: Network,
    side: int,
    images: Sequence[np.ndarray],
    candidates: _Candidates,
    threshold: float,
) -> tuple[_Candidates, np.ndarray]:
    """The candidates that R-Net or O-Net takes for faces, rescored, and its other outputs.

    Regression can turn a window inside out; there is nothing to see in it, so it is no face.
    """
    candidates = candidates[np.all(candidates.boxes[:, 2:] >= candidates.boxes[:, :2], axis=1)]
    outputs = []
    for start in range(0, max(len(candidates), 1), _CUT_OUTS):
        some = candidates[start : start + _CUT_OUTS]
        pixels = np.empty((len(some), side, side, 3), np.float32)
        boxes = some.boxes.astype(np.intp).tolist()
        number = None
        for i, box, out in zip(some.image.tolist(), boxes, pixels, strict=True):
            if i != number:
                number, image = i, as_floats(images[i])
            cut_out(image, box, out)
        outputs.append(network(pixels))
    output = np.concatenate(outputs)
    scores = probability(output[:, 0])
    passed = scores > threshold
    faces = _Candidates(candidates.image[passed], candidates.boxes[passed], scores[passed])
    return faces, output[passed, 1:]


def _batches(images: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Consecutive images of at most ``_PIXELS`` together, or a single larger one."""
    batch: list[np.ndarray] = []
    pixels = 0
    for image in images:
        area = image.shape[0] * image.shape[1]
        if batch and pixels + area > _PIXELS:
            yield batch
            batch, pixels = [], 0
        batch.append(image)
        pixels += area
    if batch:
        yield batch


def _rows(candidates: _Candidates, image: int) -> slice:
    start, stop = np.searchsorted(candidates.image, [image, image + 1])
    return slice(int(start), int(stop))
