"""From photographs to faces: decode, detect, order, crop; and to the rows of a crop shard.

The align stage and recognition crop the same faces: both do it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from facenet_core.alignment import crops
from facenet_core.alignment.mtcnn.detector import MTCNN, Detections
from facenet_core.config import AlignConfig, build
from facenet_core.extras import DetectorRuntime, detector_runtime
from facenet_core.imaging.decode import Photograph, UndecodableImage, decode_photograph, encode
from facenet_core.runtime import limit_gpu_memory

_BATCH_PIXELS = 16_000_000  # decoded images wait for the detector in so many pixels at most

Row = dict[str, Any]


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


def settings_of(uri: str, config: Mapping[str, Any]) -> AlignConfig:
    """The settings that the crops at `uri` were made with, by their manifest's configuration."""
    fields = AlignConfig.model_fields  # a plan's configuration may say more than these
    settings = {name: value for name, value in config.items() if name in fields}
    return build(AlignConfig, settings, uri)


def load_detector(config: AlignConfig) -> MTCNN:
    """The detector of this process; loading it takes seconds, so the last one is cached."""
    runtime = resolve_runtime(config)
    if runtime == "tensorflow" and config.gpu_memory_fraction < 1:
        _limit_gpu_memory(config.gpu_memory_fraction)
    return _load_detector(config.minsize, config.thresholds, config.factor, runtime)


def resolve_runtime(config: AlignConfig) -> DetectorRuntime:
    """The detector's runtime in this process, where the configuration says `auto` too."""
    return detector_runtime(config.detector_engine)


@lru_cache(maxsize=1)  # TensorFlow refuses another limit once it has begun
def _limit_gpu_memory(fraction: float) -> None:
    limit_gpu_memory(fraction)


@lru_cache(maxsize=1)
def _load_detector(
    minsize: int, thresholds: tuple[float, float, float], factor: float, runtime: DetectorRuntime
) -> MTCNN:
    return MTCNN(minsize=minsize, thresholds=thresholds, factor=factor, runtime=runtime, threads=1)


def decode_configured(data: bytes, config: AlignConfig) -> Photograph:
    """The photograph in a file's bytes. Raises UndecodableImage."""
    return decode_photograph(
        data,
        exif=config.exif,
        max_pixels=config.max_pixels,
        scale_above=config.scale_above,
        tolerate_truncated=config.tolerate_truncated,
    )


def find_faces(photographs: Sequence[Photograph], config: AlignConfig) -> list[list[Face]]:
    """The faces of each photograph: first the one that it is of, the others by score.

    They are those of the align stage with the same configuration, before they are encoded.
    """
    detected = load_detector(config).detect([photo.pixels for photo in photographs])
    return [
        list(_crop_faces(photo, detections, config))
        for photo, detections in zip(photographs, detected, strict=True)
    ]


def align(
    rows: Sequence[Row],
    config: AlignConfig,
    progress: Callable[[], None],
    crashed: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Crops and rejects (those have a `reason`) of the rows of a raw shard, in their order.

    Every photograph gives one reject or at least one crop. Batches of the detector are formed by
    position and size alone.

    Args:
        rows: with `image_id`, `identity` and `image`.
        progress: called after each image that was decoded, and after each batch.
        crashed: images not to be touched, by image_id, with the reject's detail.
    """
    for batch in _batches(rows, config, progress, crashed or {}):
        photographs = [photo for _, photo in batch if isinstance(photo, Photograph)]
        detected = iter(load_detector(config).detect([photo.pixels for photo in photographs]))
        progress()
        for row, photo in batch:
            key = {"image_id": row["image_id"], "identity": row["identity"]}
            if isinstance(photo, Photograph):
                for outcome in _outcomes(photo, next(detected), row["image_id"], config):
                    yield key | outcome
            else:
                yield key | photo


def _batches(
    rows: Sequence[Row],
    config: AlignConfig,
    progress: Callable[[], None],
    crashed: Mapping[str, str],
) -> Iterator[list[tuple[Row, Photograph | Row]]]:
    """The rows with their photographs, or with reason and detail where there is none."""
    batch: list[tuple[Row, Photograph | Row]] = []
    pixels = 0
    for row in rows:
        photo: Photograph | Row
        if row["image_id"] in crashed:
            photo = {"reason": "crashed", "detail": crashed[row["image_id"]]}
        else:
            try:
                photo = decode_configured(row["image"]["bytes"], config)
            except UndecodableImage as problem:
                photo = {"reason": problem.reason, "detail": problem.detail}
            progress()
        size = photo.pixels.size // 3 if isinstance(photo, Photograph) else 0
        if pixels and pixels + size > _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
        batch.append((row, photo))
        pixels += size
    yield batch


def _outcomes(
    photo: Photograph, detections: Detections, image_id: str, config: AlignConfig
) -> Iterator[Row]:
    """What becomes of one photograph: its crops, or a reject."""
    if not len(detections):
        yield {"reason": "no_face", "detail": no_face(photo)}
        return
    for index, face in enumerate(_crop_faces(photo, detections, config)):
        encoded = encode(face.pixels, config.image_format, config.jpeg_quality)
        yield {
            "face_index": index,
            "image": {"bytes": encoded, "path": image_id},
            "box": face.box.tolist(),
            "landmarks": face.landmarks.tolist(),
            "score": face.score,
        }


def no_face(photo: Photograph) -> str:
    """The reject's detail of a photograph in which no face was found."""
    return f"none found in {photo.width}x{photo.height} pixels"


def _crop_faces(photo: Photograph, detections: Detections, config: AlignConfig) -> Iterator[Face]:
    """The faces to crop: first the one of the single-face rule, then the others by score."""
    if not len(detections):
        return
    boxes = _full_resolution(photo, detections.boxes)
    first = crops.choose_face(boxes, (photo.height, photo.width))
    others = range(len(detections)) if config.detect_multiple_faces else ()
    for number in (first, *(number for number in others if number != first)):
        landmarks = detections.landmarks[number]
        if config.crop == "similarity":
            pixels = crops.crop_similar(photo.pixels, landmarks, config.image_size)
        else:
            margin = config.margin / photo.scale.max()
            pixels = crops.crop(photo.pixels, detections.boxes[number], config.image_size, margin)
        yield Face(
            pixels,
            boxes[number].astype(np.float32),
            _full_resolution(photo, landmarks).astype(np.float32),
            float(detections.scores[number]),
        )


def _full_resolution(photo: Photograph, coordinates: np.ndarray) -> np.ndarray:
    """Coordinates x, y, x, y … in the decoded photograph, as those in full resolution, float64."""
    return (coordinates.reshape(-1, 2) * photo.scale).reshape(coordinates.shape)
