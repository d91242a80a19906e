"""The faces of photographs, cropped as a model wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facenet_core import storage
from facenet_core.alignment import crops, similarity
from facenet_core.alignment.faces import load_detector
from facenet_core.alignment.mtcnn.detector import Detections
from facenet_core.config import AlignConfig
from facenet_core.imaging.decode import Photograph
from facenet_core.models import import_model
from facenet_core.storage import Manifest

# Fields that say what a crop looks like; what ran the detector may not be installed here.
_CROPPING = ("image_size", "crop", "margin", "minsize", "thresholds", "factor", "exif")
_CROPPING += ("tolerate_truncated",)


@dataclass(frozen=True)
class Face:
    """A face in a photograph.

    Attributes:
        pixels: the crop, uint8 RGB [s, s, 3].
        box: float32 [4], x1, y1, x2, y2 in pixels of the photograph, before the margin.
        landmarks: float32 [10], x and y of left eye, right eye, nose, left and right mouth corner.
        score: the detector's probability of a face.
    """

    pixels: np.ndarray
    box: np.ndarray
    landmarks: np.ndarray
    score: float


def find_faces(photographs: Sequence[Photograph], config: AlignConfig) -> list[list[Face]]:
    """The faces of each photograph, first the one that it is of, the others by score.

    They are those of the align stage with the same configuration, before they are encoded.
    """
    found = load_detector(config).detect([photo.pixels for photo in photographs])
    return [
        [_face(photo, faces, number, config) for number in _order(photo, faces, config)]
        for photo, faces in zip(photographs, found, strict=True)
    ]


def alignment_of(model_uri: str, reports: Sequence[Manifest], image_size: int) -> AlignConfig:
    """How photographs are cropped for a model: as those of its last validation were.

    Where it was not validated, as those that it was trained on; where that is not known either, as
    for models from elsewhere, by the original's rules for LFW.

    Args:
        reports: of its validations, the last one first.
    """
    model = storage.read_manifest(import_model.artifact_of(model_uri))
    made_of = [given.uri for report in reports for given in report.inputs[:1]]
    made_of += [given.uri for given in model.inputs[:1]] if model is not None else []
    for uri in made_of:
        crops = storage.read_manifest(uri)
        if crops is not None and crops.stage == "align" and "image_size" in crops.config:
            known = {name: crops.config[name] for name in _CROPPING if name in crops.config}
            return AlignConfig(**known)
    return AlignConfig(image_size=image_size)


def _order(photo: Photograph, faces: Detections, config: AlignConfig) -> list[int]:
    if not len(faces):
        return []
    first = crops.choose_face(faces.boxes * _factors(photo, 2), (photo.height, photo.width))
    if not config.detect_multiple_faces:
        return [first]
    return [first, *(number for number in range(len(faces)) if number != first)]


def _face(photo: Photograph, faces: Detections, number: int, config: AlignConfig) -> Face:
    box, landmarks = faces.boxes[number], faces.landmarks[number]
    if config.crop == "similarity":
        pixels = similarity.crop_similar(photo.pixels, landmarks, config.image_size)
    else:
        margin = config.margin / photo.scale.max()
        pixels = crops.crop(photo.pixels, box, config.image_size, margin)
    return Face(
        pixels,
        (box * _factors(photo, 2)).astype(np.float32),
        (landmarks * _factors(photo, 5)).astype(np.float32),
        float(faces.scores[number]),
    )


def _factors(photo: Photograph, points: int) -> np.ndarray:
    """From pixels as decoded to those of full resolution, for x, y, x, y …"""
    return np.tile(photo.scale, points)
