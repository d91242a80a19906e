"""Crops as a model takes them, and what may not come out of it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from facenet_core.errors import ArtifactError
from facenet_core.imaging.formats import openable
from facenet_core.models.face_model import fit


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
