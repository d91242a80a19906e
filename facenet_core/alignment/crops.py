"""From a detected face to the crop that the embedding model sees: the original's rules.

They are those of ``align_dataset_mtcnn.py`` of davidsandberg/facenet, pixel for pixel, so that its
models see the crops that they were trained on. For alignment by landmarks see `similarity`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def choose_face(boxes: np.ndarray, image_shape: tuple[int, ...]) -> int:
    """The face that a photograph is of: large and near the centre.

    Args:
        boxes: ``[n, 4]`` with n > 0, x1, y1, x2, y2 in pixels.
        image_shape: height, width, and whatever follows.

    Returns:
        The row that maximises area minus twice the squared distance of the box's centre from the
        image's centre.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    height, width = image_shape[:2]
    distance_squared = ((centres - (width / 2, height / 2)) ** 2).sum(axis=1)
    return int(np.argmax(sides.prod(axis=1) - 2.0 * distance_squared))


def crop_box(
    box: np.ndarray, margin: float, image_shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """The pixels to cut out for a face: x1, y1, x2, y2, the latter two exclusive.

    Half of ``margin`` (pixels) is added on each side, the result is cut at the image's edges and
    truncated to integers. A box that lies outside gives the nearest pixel of the image.
    """
    height, width = image_shape[:2]
    x1, y1, x2, y2 = (float(v) for v in box)
    half = margin / 2
    left = int(min(max(x1 - half, 0), width - 1))
    top = int(min(max(y1 - half, 0), height - 1))
    right = int(max(min(x2 + half, width), left + 1))
    bottom = int(max(min(y2 + half, height), top + 1))
    return left, top, right, bottom


def crop(image: np.ndarray, box: np.ndarray, image_size: int, margin: float) -> np.ndarray:
    """Cut out a face and resize it to a square, without regard to its proportions.

    Args:
        image: uint8 ``[h, w, 3]``.
        box: ``[4]``, x1, y1, x2, y2 in pixels, as detected.
        image_size: side of the result.
        margin: see ``crop_box``.

    Returns:
        uint8 ``[image_size, image_size, 3]``, resized by Pillow's bilinear filter as by the
        original's ``scipy.misc.imresize``.
    """
    left, top, right, bottom = crop_box(box, margin, image.shape)
    face = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    return np.asarray(face.resize((image_size, image_size), Image.Resampling.BILINEAR))
