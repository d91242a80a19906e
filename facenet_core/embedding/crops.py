"""Crops as a model takes them, and what may not come out of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from facenet_core.errors import ArtifactError
from facenet_core.imaging.formats import openable
from facenet_core.models.face_model import fit
from facenet_core.storage import Artifact, parquet


def decode(image_id: str, data: bytes) -> np.ndarray:
    """Pixels uint8 [h, w, 3] RGB of an encoded crop.

    Raises:
        ArtifactError: they cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=openable()) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ArtifactError(
            f"{image_id}: its crop cannot be decoded ({error}); run the align stage again"
        ) from error


def read_faces(
    crops: Artifact, faces: Collection[tuple[str, int]]
) -> dict[tuple[str, int], np.ndarray]:
    """Pixels uint8 [h, w, 3] of a few faces, by image_id and face_index.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    columns = ["image_id", "face_index", "image"]
    return {
        (row["image_id"], row["face_index"]): decode(row["image_id"], row["image"]["bytes"])
        for row in read_rows(crops, columns, lambda *face: face in faces)
    }


def read_rows(
    crops: Artifact, columns: Sequence[str], is_wanted: Callable[[str, int], bool]
) -> Iterator[dict[str, Any]]:
    """The rows of some faces, in the order of the shards; of parts without any, only the ids.

    Args:
        columns: `image_id` and `face_index` among them.
        is_wanted: says so of an image_id and a face_index.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    for part in crops.part_uris("crops"):
        if not _wanted_rows(parquet.read_table(part, ["image_id", "face_index"]), is_wanted):
            continue
        for group in parquet.read_row_groups(part, columns):
            rows = pa.array(_wanted_rows(group, is_wanted), pa.int64())
            yield from group.take(rows).to_pylist()


def _wanted_rows(table: pa.Table, is_wanted: Callable[[str, int], bool]) -> list[int]:
    ids, faces = table["image_id"].to_pylist(), table["face_index"].to_pylist()
    return [row for row, face in enumerate(zip(ids, faces, strict=True)) if is_wanted(*face)]


def stack(images: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Crops as one batch uint8 [n, h, w, 3]; those of several sizes as [n, side, side, 3]."""
    if len({image.shape for image in images}) > 1:
        images = [fit(image[None], side)[0] for image in images]
    return np.stack(images)


def require_finite(vectors: np.ndarray, image_ids: Sequence[str]) -> None:
    """Raises ArtifactError, naming the image, where an embedding of [n, d] is not finite."""
    # Zeros are what is left of prelogits whose length is infinite.
    good = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not good.all():
        raise ArtifactError(
            f"the model gives no finite embedding for {image_ids[int(np.argmin(good))]}: its "
            "training diverged; train again with a lower learning rate"
        )
