"""Crops as a model takes them, and what may not come out of it."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    image_ids = pa.array(sorted({image_id for image_id, _ in faces}), pa.string())
    pixels = {}
    for part in crops.part_uris("crops"):
        if not pc.any(_among(parquet.read_table(part, ["image_id"]), image_ids)).as_py():
            continue
        for group in parquet.read_row_groups(part, ["image_id", "face_index", "image"]):
            for row in group.filter(_among(group, image_ids)).to_pylist():
                face = (row["image_id"], row["face_index"])
                if face in faces:
                    pixels[face] = decode(row["image_id"], row["image"]["bytes"])
    return pixels


def _among(table: pa.Table, image_ids: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(table["image_id"], value_set=image_ids)


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
