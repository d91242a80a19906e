"""Photographs in, embeddings out, in one pass: a few batches are in memory, never a data set.

Reading, decoding and detection run in threads of their own, ahead of the embedding.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from facenet_core.alignment.faces import decode_configured, find_faces, no_face
from facenet_core.config import AlignConfig
from facenet_core.imaging.decode import Photograph, UndecodableImage, decode
from facenet_core.models.face_model import fit, padded
from facenet_core.prefetch import one_ahead
from facenet_core.recognition.embedder import FaceEmbedder
from facenet_core.recognition.photographs import Row

_log = logging.getLogger(__name__)
_BATCH = 32


@dataclass(frozen=True)
class Embedded:
    """A face with its embedding float32 [d]; `box` and `score` are None for crops without them."""

    image_id: str
    identity: str
    face_index: int
    box: list[float] | None
    score: float | None
    vector: np.ndarray
    pixels: np.ndarray

    def row(self) -> dict[str, Any]:
        """As a row of `tables.FACES`."""
        names = ("image_id", "identity", "face_index", "box", "score")
        return {name: getattr(self, name) for name in names} | {"embedding": self.vector}


@dataclass(frozen=True)
class Rejected:
    """A photograph that gave no face, and why."""

    image_id: str
    identity: str
    reason: str
    detail: str

    def row(self) -> dict[str, Any]:
        """As a row of `records.REJECTS`."""
        return dict(vars(self))


def embed_rows(
    rows: Iterable[Row],
    embedder: FaceEmbedder,
    *,
    every_face: bool = False,
    aligned: bool = False,
) -> Iterator[Embedded | Rejected]:
    """The faces of photographs with their embeddings, in the order of the photographs.

    Args:
        rows: from `photographs.read_rows`.
        every_face: all faces of a photograph, not only the one that it is of; of crops, too.
        aligned: the rows are crops: they are embedded as they are.
    """
    config = embedder.alignment.model_copy(update={"detect_multiple_faces": every_face})
    size = embedder.face_model.image_size
    not_square: Counter[tuple[int, int]] = Counter()
    if not every_face:
        rows = (row for row in rows if not row.get("face_index"))
    batches = _batches(rows, _BATCH)
    if aligned:
        cropped = one_ahead(_as_they_are(batch, size, not_square) for batch in batches)
    else:
        decoded = one_ahead(_decoded(batch, config) for batch in batches)
        cropped = one_ahead(_detected(batch, config) for batch in decoded)
    for outcomes in cropped:
        crops = [crop for _, outcome in outcomes if isinstance(outcome, list) for crop in outcome]
        pixels = [crop.pixels for crop in crops]
        vectors = iter(embedder.embed_crops(np.stack(pixels)) if pixels else ())
        for row, outcome in outcomes:
            key = (row["image_id"], row["identity"])
            if isinstance(outcome, Rejected):
                yield outcome
                continue
            for index, crop in enumerate(outcome):
                number = row.get("face_index", index)
                yield Embedded(*key, number, crop.box, crop.score, next(vectors), crop.pixels)
    if not_square:
        (height, width), _ = not_square.most_common(1)[0]
        _log.warning(
            "%d crops are not square (most of them %dx%d): they were given black margins, not "
            "stretched; square crops of %d pixels are what the model knows",
            not_square.total(),
            width,
            height,
            size,
        )


class _Crop(NamedTuple):
    """A face to be embedded; of crops that come as they are, box and score may not be known."""

    pixels: np.ndarray
    box: list[float] | None
    score: float | None


_Outcomes = list[tuple[Row, list[_Crop] | Rejected]]


def _decoded(rows: Sequence[Row], config: AlignConfig) -> list[tuple[Row, Photograph | Rejected]]:
    batch: list[tuple[Row, Photograph | Rejected]] = []
    for row in rows:
        if "reason" in row:
            batch.append((row, Rejected(**row)))
            continue
        try:
            photo = decode_configured(row["image"]["bytes"], config)
        except UndecodableImage as error:
            batch.append((row, _reject(row, error.reason, error.detail)))
        else:
            batch.append((row, photo))
    return batch


def _detected(batch: Sequence[tuple[Row, Photograph | Rejected]], config: AlignConfig) -> _Outcomes:
    photographs = [photo for _, photo in batch if isinstance(photo, Photograph)]
    detected = iter(find_faces(photographs, config))
    outcomes: _Outcomes = []
    for row, photo in batch:
        if isinstance(photo, Rejected):
            outcomes.append((row, photo))
            continue
        crops = [_Crop(face.pixels, face.box.tolist(), face.score) for face in next(detected)]
        outcomes.append((row, crops or _reject(row, "no_face", no_face(photo))))
    return outcomes


def _as_they_are(rows: Sequence[Row], size: int, not_square: Counter[tuple[int, int]]) -> _Outcomes:
    outcomes: _Outcomes = []
    for row in rows:
        if "reason" in row:
            outcomes.append((row, Rejected(**row)))
            continue
        try:
            pixels = decode(row["image"]["bytes"], exif="ignore")
        except UndecodableImage as error:
            outcomes.append((row, _reject(row, error.reason, error.detail)))
            continue
        height, width = pixels.shape[:2]
        if padded(height, width, size):
            not_square[height, width] += 1
        box = row.get("box")
        box = None if box is None else np.asarray(box, np.float32).tolist()
        outcomes.append((row, [_Crop(fit(pixels[None], size)[0], box, row.get("score"))]))
    return outcomes


def _reject(row: Row, reason: str, detail: str) -> Rejected:
    return Rejected(row["image_id"], row["identity"], reason, detail)


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch
