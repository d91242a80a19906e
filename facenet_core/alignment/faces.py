"""From photographs to the rows of a crop shard: decode, detect, choose, crop, encode.

Every photograph gives one reject or at least one crop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from facenet_core.alignment import crops
from facenet_core.alignment.mtcnn.detector import MTCNN, Detections
from facenet_core.alignment.mtcnn.networks import EngineName, default_engine
from facenet_core.alignment.similarity import crop_similar
from facenet_core.alignment.watchdog import Watchdog
from facenet_core.config import AlignConfig
from facenet_core.imaging import decode as images
from facenet_core.imaging.decode import Photograph, UndecodableImage

_BATCH_PIXELS = 16_000_000  # decoded images wait for the detector in so many pixels at most

Row = dict[str, Any]


def load_detector(config: AlignConfig) -> MTCNN:
    """The detector of this process; loading it takes seconds, so the last one is kept."""
    engine = resolve_engine(config)
    return _load_detector(config.minsize, config.thresholds, config.factor, engine)


def resolve_engine(config: AlignConfig) -> EngineName:
    """What runs the detector here, for `auto`, too."""
    return default_engine() if config.detector_engine == "auto" else config.detector_engine


@lru_cache(maxsize=1)
def _load_detector(
    minsize: int, thresholds: tuple[float, float, float], factor: float, engine: EngineName
) -> MTCNN:
    return MTCNN(minsize=minsize, thresholds=thresholds, factor=factor, engine=engine, threads=1)


def align(
    rows: Sequence[Row],
    config: AlignConfig,
    watchdog: Watchdog,
    crashed: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Crops and rejects (those have a `reason`) of the rows of a raw shard, in their order.

    Batches of the detector are formed by position and size alone.

    Args:
        rows: with `image_id`, `identity` and `image`.
        watchdog: told of each image that was decoded, and of each batch.
        crashed: images not to be touched, by image_id, with the reject's detail.
    """
    for batch in _batches(rows, config, watchdog, crashed or {}):
        photographs = [photo for _, photo in batch if isinstance(photo, Photograph)]
        found = iter(load_detector(config).detect([photo.pixels for photo in photographs]))
        watchdog.progress()
        for row, photo in batch:
            key = {"image_id": row["image_id"], "identity": row["identity"]}
            if isinstance(photo, Photograph):
                for outcome in _outcomes(photo, next(found), row, config):
                    yield key | outcome
            else:
                yield key | photo


def decode(row: Row, config: AlignConfig) -> Photograph:
    """The photograph of a raw row. Raises UndecodableImage."""
    return images.decode_photograph(
        row["image"]["bytes"],
        exif=config.exif,
        max_pixels=config.max_pixels,
        scale_above=config.scale_above,
        tolerate_truncated=config.tolerate_truncated,
    )


def _batches(
    rows: Sequence[Row], config: AlignConfig, watchdog: Watchdog, crashed: Mapping[str, str]
) -> Iterator[list[tuple[Row, Photograph | Row]]]:
    """The rows with their photographs, or with reason and detail where there is none."""
    batch: list[tuple[Row, Photograph | Row]] = []
    held = 0
    for row in rows:
        photo: Photograph | Row
        if row["image_id"] in crashed:
            photo = {"reason": "crashed", "detail": crashed[row["image_id"]]}
        else:
            try:
                photo = decode(row, config)
            except UndecodableImage as problem:
                photo = {"reason": problem.reason, "detail": problem.detail}
            watchdog.progress()
        size = photo.pixels.size // 3 if isinstance(photo, Photograph) else 0
        if held and held + size > _BATCH_PIXELS:
            yield batch
            batch, held = [], 0
        batch.append((row, photo))
        held += size
    yield batch


def _outcomes(photo: Photograph, faces: Detections, row: Row, config: AlignConfig) -> Iterator[Row]:
    """What becomes of one photograph: its crops, or a reject."""
    if not len(faces):
        detail = f"none found in {photo.width}x{photo.height} pixels"
        yield {"reason": "no_face", "detail": detail}
        return
    for index, face in enumerate(_chosen(faces, photo, config)):
        pixels = _crop(photo, faces, face, config)
        encoded = images.encode(pixels, config.image_format, config.jpeg_quality)
        yield {
            "face_index": index,
            "image": {"bytes": encoded, "path": row["image_id"]},
            "box": _in_full(photo, faces.boxes[face]).tolist(),
            "landmarks": _in_full(photo, faces.landmarks[face]).tolist(),
            "score": float(faces.scores[face]),
        }


def _chosen(faces: Detections, photo: Photograph, config: AlignConfig) -> list[int]:
    """Numbers of the faces to crop: first the one of the single-face rule, then by score."""
    first = crops.choose_face(_in_full(photo, faces.boxes), (photo.height, photo.width))
    if not config.detect_multiple_faces:
        return [first]
    return [first, *(face for face in range(len(faces)) if face != first)]


def _crop(photo: Photograph, faces: Detections, face: int, config: AlignConfig) -> np.ndarray:
    if config.crop == "similarity":
        return crop_similar(photo.pixels, faces.landmarks[face], config.image_size)
    margin = config.margin / photo.scale.max()
    return crops.crop(photo.pixels, faces.boxes[face], config.image_size, margin)


def _in_full(photo: Photograph, coordinates: np.ndarray) -> np.ndarray:
    """Coordinates x, y, x, y … in the decoded photograph, as those in full resolution."""
    return (coordinates.reshape(-1, 2) * photo.scale).reshape(coordinates.shape)
