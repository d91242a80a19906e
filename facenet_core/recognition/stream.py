"""Photographs in, embeddings out, in one pass: a few batches are in memory, never a data set.

Reading, decoding and detection run in threads of their own, ahead of the embedding.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from facenet_core.config import AlignConfig
from facenet_core.imaging.decode import Photograph, UndecodableImage, decode, decode_photograph
from facenet_core.models.face_model import fit, padded
from facenet_core.recognition.embedder import FaceEmbedder
from facenet_core.recognition.faces import Face, find_faces
from facenet_core.recognition.photographs import Row

_log = logging.getLogger(__name__)
_BATCH = 32

T = TypeVar("T")


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
    size = embedder.network.image_size
    not_square: Counter[tuple[int, int]] = Counter()
    if not every_face:
        rows = (row for row in rows if not row.get("face_index"))
    batches = _batches(rows, _BATCH)
    if aligned:
        found = _ahead(_as_they_are(batch, size, not_square) for batch in batches)
    else:
        decoded = _ahead(_decoded(batch, config) for batch in batches)
        found = _ahead(_detected(batch, config) for batch in decoded)
    for batch in found:
        found_faces = [outcome for _, outcome in batch if isinstance(outcome, list)]
        pixels = [face.pixels for faces in found_faces for face in faces]
        vectors = iter(embedder.embed_crops(np.stack(pixels)) if pixels else ())
        for row, outcome in batch:
            key = (row["image_id"], row["identity"])
            if isinstance(outcome, Rejected):
                yield outcome
                continue
            for index, face in enumerate(outcome):
                box = None if face.box is None else face.box.tolist()
                number = row.get("face_index", index)
                yield Embedded(*key, number, box, face.score, next(vectors), face.pixels)
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


Found = list[tuple[Row, list[Face] | Rejected]]


def _decoded(rows: Sequence[Row], config: AlignConfig) -> list[tuple[Row, Photograph | Rejected]]:
    batch: list[tuple[Row, Photograph | Rejected]] = []
    for row in rows:
        if "reason" in row:
            batch.append((row, Rejected(**row)))
            continue
        try:
            photo = decode_photograph(
                row["image"]["bytes"],
                exif=config.exif,
                max_pixels=config.max_pixels,
                scale_above=config.scale_above,
                tolerate_truncated=config.tolerate_truncated,
            )
        except UndecodableImage as error:
            batch.append((row, _reject(row, error.reason, error.detail)))
        else:
            batch.append((row, photo))
    return batch


def _detected(batch: Sequence[tuple[Row, Photograph | Rejected]], config: AlignConfig) -> Found:
    photographs = [photo for _, photo in batch if isinstance(photo, Photograph)]
    found = iter(find_faces(photographs, config))
    outcomes: Found = []
    for row, photo in batch:
        if isinstance(photo, Rejected):
            outcomes.append((row, photo))
            continue
        faces = next(found)
        detail = f"none found in {photo.width}x{photo.height} pixels"
        outcomes.append((row, faces or _reject(row, "no_face", detail)))
    return outcomes


def _as_they_are(rows: Sequence[Row], size: int, not_square: Counter[tuple[int, int]]) -> Found:
    outcomes: Found = []
    for row in rows:
        if "reason" in row:
            outcomes.append((row, Rejected(**row)))
            continue
        try:
            crop = decode(row["image"]["bytes"], exif="ignore")
        except UndecodableImage as error:
            outcomes.append((row, _reject(row, error.reason, error.detail)))
            continue
        if padded(*crop.shape[:2], size):
            not_square[crop.shape[:2]] += 1
        pixels = fit(crop[None], size)[0]
        box = row.get("box")
        box = None if box is None else np.asarray(box, np.float32)
        outcomes.append((row, [Face(pixels, box, row.get("landmarks"), row.get("score"))]))
    return outcomes


def _reject(row: Row, reason: str, detail: str) -> Rejected:
    return Rejected(row["image_id"], row["identity"], reason, detail)


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
