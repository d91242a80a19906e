"""Embeddings of crops, each image once.

Crops are read a row group at a time and embedded a batch at a time, while the next one is decoded:
memory holds those and the embeddings, however large the data set is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core.config import ValidateConfig
from facenet_core.embedding import artifact
from facenet_core.embedding.crops import decode, read_rows, require_finite, stack
from facenet_core.errors import ArtifactError
from facenet_core.models.runtimes import Embed, Runtime
from facenet_core.storage import Artifact, parquet, schemas
from facenet_core.text.plural import plural

_DECODING_THREADS = 4
_DESCRIBED = ("image_id", "identity", "face_index", "box", "score")
_COLUMNS = (*_DESCRIBED, "image")


@dataclass(frozen=True)
class Crop:
    """The first face of an image, encoded as in its shard.

    `score` is the detector's, `size` the side in pixels of a square as large as its box; both are
    NaN where nothing was detected.
    """

    image_id: str
    identity: str
    data: bytes
    score: float = math.nan
    size: float = math.nan


@dataclass(frozen=True)
class Embeddings:
    """Embeddings in the order of their image ids.

    Attributes:
        image_ids: n of them.
        identities: n of them.
        vectors: float32 [n, d], or [n, 2d] with the mirrored images' joined to them.
        scores, sizes: float32 [n], see `Crop`.
    """

    image_ids: tuple[str, ...]
    identities: tuple[str, ...]
    vectors: np.ndarray
    scores: np.ndarray
    sizes: np.ndarray

    def rows(self, image_ids: Iterable[str]) -> np.ndarray:
        """Int [k], the row of each image."""
        row_of = {image_id: row for row, image_id in enumerate(self.image_ids)}
        return np.array([row_of[image_id] for image_id in image_ids], int)

    def table(self) -> pa.Table:
        """As `schemas.EMBEDDINGS`."""
        width = self.vectors.shape[1]
        offsets = np.arange(len(self.image_ids) + 1, dtype=np.int32) * width
        lists = pa.ListArray.from_arrays(offsets, pa.array(self.vectors.ravel()))
        columns = [list(self.image_ids), list(self.identities), lists]
        return pa.table(columns, schema=schemas.EMBEDDINGS)


def read_crops(crops: Artifact, image_ids: Collection[str]) -> Iterator[Crop]:
    """The crops (face 0) of images, in the order of the shards.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    for row in _first_faces(crops, _COLUMNS, image_ids):
        yield _crop(row)


def _crop(row: Mapping[str, Any]) -> Crop:
    score, size = math.nan, math.nan
    if row["score"] is not None:
        x1, y1, x2, y2 = row["box"]
        score, size = row["score"], math.sqrt(max(0.0, (x2 - x1) * (y2 - y1)))
    return Crop(row["image_id"], row["identity"], row["image"]["bytes"], score, size)


def _first_faces(
    crops: Artifact, columns: Sequence[str], image_ids: Collection[str]
) -> Iterator[dict[str, Any]]:
    return read_rows(crops, columns, lambda image_id, face: face == 0 and image_id in image_ids)


def embed_crops(
    crops: Artifact,
    image_ids: Iterable[str],
    runtime: Runtime,
    config: ValidateConfig,
    *,
    others: Iterable[Crop] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """Embed the crops (face 0) of images.

    With `use_flipped_images` the embedding of the mirrored image is joined to that of the image,
    as davidsandberg/facenet does. Both halves have length 1, the whole √2 and is used as it is:
    squared Euclidean distances then reach from 0 to 8, angles are those of the joined vectors.

    Args:
        crops: artifact of crops.
        image_ids: images to embed; each must have a crop.
        runtime: the model.
        config: `lfw_batch_size`, the images that the model gets at a time, and
            `use_flipped_images`.
        others: crops to embed besides, of images that have none in the artifact.
        progress: called with the images done and their number.

    Raises:
        ArtifactError: an image has no crop, a crop cannot be decoded, or the model gives numbers
            that are not finite.
    """
    embed: Embed = runtime.embed_with_mirrored if config.use_flipped_images else runtime
    requested = {*image_ids}
    embedded: list[Crop] = []  # without their bytes
    vectors: list[np.ndarray] = []
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        encoded = itertools.chain(read_crops(crops, requested), others)
        side = runtime.model.image_size
        for batch, images in _decoded(encoded, config.lfw_batch_size, side, pool):
            vectors.append(embed(images))
            require_finite(vectors[-1], [crop.image_id for crop in batch])
            embedded += [replace(crop, data=b"") for crop in batch]
            if progress is not None:
                progress(len(embedded), max(len(requested), len(embedded)))
    _require_all(requested, embedded, crops.uri)
    width = runtime.model.embedding_size * (1 + config.use_flipped_images)
    return _ordered(embedded, np.concatenate([np.empty((0, width), np.float32), *vectors]))


def read_embeddings(
    embeddings: Artifact, crops: Artifact, image_ids: Iterable[str], config: ValidateConfig
) -> Embeddings:
    """As `embed_crops`, of crops that were embedded before.

    Args:
        embeddings: artifact of embeddings of these crops.

    Raises:
        ArtifactError: an image has no embedding, or a part is damaged.
        ConfigError: `use_flipped_images`, and mirrored images were not embedded.
    """
    requested = {*image_ids}
    columns = ["embedding"]
    if config.use_flipped_images:
        artifact.require_flipped(embeddings)
        columns.append("embedding_flipped")
    described: dict[str, Crop] = {}
    for row in _first_faces(crops, _DESCRIBED, requested):
        described[row["image_id"]] = _crop(row | {"image": {"bytes": b""}})
    read: list[Crop] = []
    vectors: list[np.ndarray] = []
    for part in embeddings.part_uris(artifact.FOLDER):
        for group in parquet.read_row_groups(part, ["image_id", "face_index", *columns]):
            group = group.filter(pc.equal(group["face_index"], 0))
            ids = group["image_id"].to_pylist()
            rows = [row for row, image_id in enumerate(ids) if image_id in described]
            taken = group.take(pa.array(rows, pa.int64()))
            read += [described[ids[row]] for row in rows]
            halves = [artifact.vectors(part, taken[name]) for name in columns]
            vectors.append(np.concatenate(halves, axis=1))
    _require_all(requested, read, embeddings.uri)
    return _ordered(read, np.concatenate(vectors))


def joined(first: Embeddings, second: Embeddings) -> Embeddings:
    """Those of different images, in the order of all image ids."""
    crops = [
        Crop(*values[:2], b"", *values[2:])
        for each in (first, second)
        for values in zip(each.image_ids, each.identities, each.scores, each.sizes, strict=True)
    ]
    return _ordered(crops, np.concatenate([first.vectors, second.vectors]))


def _require_all(requested: Collection[str], embedded: Iterable[Crop], uri: str) -> None:
    absent = {*requested} - {crop.image_id for crop in embedded}
    if absent:
        listed = ", ".join(sorted(absent)[:5])
        raise ArtifactError(f"{uri}: no crop of {plural(len(absent), 'image')}: {listed}")


def _ordered(crops: Sequence[Crop], vectors: np.ndarray) -> Embeddings:
    """Embeddings of crops in the order of their image ids."""
    order = sorted(range(len(crops)), key=lambda row: crops[row].image_id)
    return Embeddings(
        tuple(crops[row].image_id for row in order),
        tuple(crops[row].identity for row in order),
        vectors[order],
        np.array([crops[row].score for row in order], np.float32),
        np.array([crops[row].size for row in order], np.float32),
    )


def _decoded(
    crops: Iterator[Crop], size: int, side: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[Crop], np.ndarray]]:
    """Batches of crops with their pixels uint8 [n, h, w, 3], the next one being decoded."""
    waiting: tuple[list[Crop], list[Future[np.ndarray]]] | None = None
    while batch := list(itertools.islice(crops, size)):
        started = (batch, [pool.submit(decode, crop.image_id, crop.data) for crop in batch])
        if waiting is not None:
            yield waiting[0], stack([each.result() for each in waiting[1]], side)
        waiting = started
    if waiting is not None:
        yield waiting[0], stack([each.result() for each in waiting[1]], side)
