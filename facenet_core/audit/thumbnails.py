"""Small grey images of faces: whether two photographs are the same one, however it was encoded,
scaled or mirrored.

Faces are brought onto one template by their landmarks first: the margin of a crop is in pixels of
the photograph, so crops of a photograph in two sizes differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.alignment.crops import TEMPLATE, TEMPLATE_SIZE, estimate_similarity
from facenet_core.embedding.crops import decode
from facenet_core.storage import Artifact, parquet

SIDE = 20
_READ_AT = 80  # pixels, before they are brought onto the template
_SHIFT = 6  # pixels of thumbnails in twice their size
_COLUMNS = ("image_id", "face_index", "image", "box", "landmarks")
_THREADS = 4


def thumbnail(image: np.ndarray, crop_to_face: np.ndarray | None = None) -> np.ndarray:
    """Float32 [SIDE²] of a crop uint8 [h, w, 3], with mean 0 and length 1 (0 if it is plain).

    Args:
        crop_to_face: float [2, 3], from the unit square of the crop to that of the template; None:
            the whole crop.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_READ_AT, _READ_AT), interpolation=cv2.INTER_AREA)
    if crop_to_face is not None:
        matrix = np.array(crop_to_face, np.float64)
        matrix[:, 2] *= _READ_AT
        small = cv2.warpAffine(small, matrix, (_READ_AT, _READ_AT), borderMode=cv2.BORDER_REPLICATE)
    pixels = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    values = pixels.astype(np.float32).ravel()
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1.0)


def mirrored(thumbnails: np.ndarray) -> np.ndarray:
    """Those of the mirrored faces, float32 [n, SIDE²]."""
    return thumbnails.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(-1, SIDE * SIDE)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """How alike two thumbnails are, up to 1, wherever the middle of the second fits best: the
    landmarks of a mirrored face are off by a pixel or two."""
    first, second = (
        cv2.resize(one.reshape(SIDE, SIDE), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        for one in (np.asarray(a), np.asarray(b))
    )
    middle = np.ascontiguousarray(second[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT])
    return float(cv2.matchTemplate(first, middle, cv2.TM_CCOEFF_NORMED).max())


def crop_to_face(row: Mapping[str, Any], margin: float | None) -> np.ndarray | None:
    """Where the face's landmarks lie on its crop, as a map of unit squares onto ArcFace's template.

    Args:
        row: of crops, with `box` and `landmarks`.
        margin: of the alignment, pixels of the photograph; None where crops are aligned already.
    """
    box, landmarks = row["box"], row["landmarks"]
    if margin is None or not box or not landmarks or not any(landmarks):
        return None
    x1, y1, x2, y2 = box
    corner = np.maximum((x1 - margin / 2, y1 - margin / 2), 0)
    size = np.maximum(np.array((x2 + margin / 2, y2 + margin / 2)) - corner, 1)
    points = np.asarray(landmarks, np.float64).reshape(5, 2)
    photograph_to_face = estimate_similarity(points, TEMPLATE / TEMPLATE_SIZE)
    linear = photograph_to_face[:, :2]
    shift = linear @ corner + photograph_to_face[:, 2]
    return np.column_stack([linear * size, shift])


def read_thumbnails(
    crops: Artifact,
    image_ids: pa.Array,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Float32 [n, SIDE²] of the first faces of n images, on disk.

    Args:
        image_ids: of the images, in the order of the crops, which may hold others besides: of
            people who were forgotten since.

    Raises:
        ArtifactError: a part or crop is missing or damaged.
        StorageError: there is no room for them in $TMPDIR.
    """
    thumbnails = storage.scratch((len(image_ids), SIDE * SIDE))
    wanted = {*image_ids.to_pylist()}
    margin = crops.config.get("margin")
    if crops.config.get("crop") == "similarity":
        margin = None

    def read(row: Mapping[str, Any]) -> np.ndarray:
        image = decode(row["image_id"], row["image"]["bytes"])
        return thumbnail(image, crop_to_face(row, margin))

    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in crops.part_uris("crops"):
            for group in parquet.read_row_groups(part, _COLUMNS):
                first = group.filter(pc.equal(group["face_index"], 0)).to_pylist()
                rows = [row for row in first if row["image_id"] in wanted]
                for values in pool.map(read, rows):
                    thumbnails[done] = values
                    done += 1
                progress(done)
    return thumbnails
