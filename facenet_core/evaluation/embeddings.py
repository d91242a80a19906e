"""Embeddings of the crops that pairs need, each image once.

Crops are read a row group at a time and embedded a batch at a time: memory holds those and the
embeddings, however large the data set is.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from facenet_core import records, storage
from facenet_core.errors import ArtifactError
from facenet_core.models.embedder import Embedder

_DECODING_THREADS = 4


@dataclass(frozen=True)
class Crop:
    """A face 0 as it lies in its shard, still encoded."""

    image_id: str
    identity: str
    data: bytes


@dataclass(frozen=True)
class Embeddings:
    """Embeddings in the order of their image ids.

    Attributes:
        image_ids: n of them.
        identities: n of them.
        vectors: float32 [n, d], or [n, 2d] with the mirrored images' joined to them.
    """

    image_ids: tuple[str, ...]
    identities: tuple[str, ...]
    vectors: np.ndarray

    def table(self) -> pa.Table:
        """As `records.EMBEDDINGS`."""
        width = self.vectors.shape[1]
        offsets = np.arange(len(self.image_ids) + 1, dtype=np.int32) * width
        lists = pa.ListArray.from_arrays(offsets, pa.array(self.vectors.ravel()))
        columns = [list(self.image_ids), list(self.identities), lists]
        return pa.table(columns, schema=records.EMBEDDINGS)


def read_crops(uri: str, manifest: storage.Manifest, wanted: Collection[str]) -> Iterator[Crop]:
    """The crops (face 0) of the wanted images, in the order of the shards.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    for part in records.part_uris(uri, "crops", manifest.parts):
        ids = records.read_table(part, ["image_id"])["image_id"]
        if not any(image_id in wanted for image_id in ids.to_pylist()):
            continue
        for group in records.read_row_groups(part, ["image_id", "identity", "face_index", "image"]):
            for row in _rows_of_first_faces(group, wanted):
                yield Crop(row["image_id"], row["identity"], row["image"]["bytes"])


def _rows_of_first_faces(group: pa.Table, wanted: Collection[str]) -> list[dict[str, Any]]:
    ids = group["image_id"].to_pylist()
    faces = group["face_index"].to_pylist()
    chosen = [
        row
        for row, (image_id, face) in enumerate(zip(ids, faces, strict=True))
        if face == 0 and image_id in wanted
    ]
    return group.take(pa.array(chosen, pa.int64())).to_pylist()


def embed_crops(
    uri: str,
    manifest: storage.Manifest,
    image_ids: Sequence[str],
    embedder: Embedder,
    *,
    batch_size: int,
    use_flipped_images: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """Embed the crops (face 0) of images.

    With `use_flipped_images` the embedding of the mirrored image is joined to that of the image,
    as davidsandberg/facenet does. Both halves have length 1, the whole √2 and is used as it is:
    squared Euclidean distances then reach from 0 to 8, angles are those of the joined vectors.

    Args:
        uri: artifact of crops, with its `manifest`.
        image_ids: images to embed; each must have a crop.
        embedder: the model.
        batch_size: images that the model gets at a time.
        progress: called with the images done and their number.

    Raises:
        ArtifactError: an image has no crop, a crop cannot be decoded, or the model gives numbers
            that are not finite.
    """
    row_of = {image_id: row for row, image_id in enumerate(sorted(set(image_ids)))}
    width = embedder.embedding_size * (2 if use_flipped_images else 1)
    vectors = np.full((len(row_of), width), np.nan, np.float32)
    identities: list[str] = [""] * len(row_of)
    done = np.zeros(len(row_of), bool)
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        for batch in _batched(read_crops(uri, manifest, row_of.keys()), batch_size):
            images = np.stack(list(pool.map(decode, batch)))
            halves = [embedder.embed(images)]
            if use_flipped_images:
                halves.append(embedder.embed(images, flipped=True))
            rows = [row_of[crop.image_id] for crop in batch]
            vectors[rows] = np.concatenate(halves, axis=1)
            for row, crop in zip(rows, batch, strict=True):
                identities[row] = crop.identity
            _require_finite(vectors[rows], batch)
            done[rows] = True
            if progress is not None:
                progress(int(done.sum()), len(row_of))
    if not done.all():
        absent = [image_id for image_id, row in row_of.items() if not done[row]]
        raise ArtifactError(f"{uri}: {len(absent)} images have no crop: {', '.join(absent[:5])}")
    return Embeddings(tuple(row_of), tuple(identities), vectors)


def decode(crop: Crop) -> np.ndarray:
    """Pixels uint8 [h, w, 3] RGB of a crop.

    Raises:
        ArtifactError: they cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(crop.data)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ArtifactError(
            f"{crop.image_id}: its crop cannot be decoded ({error}); run the align stage again"
        ) from error


def _batched(crops: Iterator[Crop], size: int) -> Iterator[list[Crop]]:
    while batch := list(itertools.islice(crops, size)):
        yield batch


def _require_finite(vectors: np.ndarray, batch: Sequence[Crop]) -> None:
    for vector, crop in zip(vectors, batch, strict=True):
        if not np.isfinite(vector).all():
            raise ArtifactError(
                f"the model gives numbers that are not finite for {crop.image_id}: its training "
                "diverged; train again with a lower learning rate"
            )
