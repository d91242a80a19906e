"""From a detected face to the crop that the embedding model sees: the original's rules.

They are those of ``align_dataset_mtcnn.py`` of davidsandberg/facenet, pixel for pixel, so that its
models see the crops that they were trained on.

`crop_similar` is for ArcFace's models instead, which want eyes, nose and mouth always at the same
places. The five landmarks are moved onto a template by the similarity (rotation, scale, shift) of
least squares: Umeyama, "Least-squares estimation of transformation parameters between two point
patterns", TPAMI 1991. Template and warping (bilinear, black beyond the edges) are InsightFace's, up
to faces of twice the template's size.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

# Deng et al., "ArcFace", CVPR 2019: where the landmarks lie in a crop of 112x112 pixels.
TEMPLATE_SIZE = 112
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],  # the eye on the left of the picture
        [73.5318, 51.5014],
        [56.0252, 71.7366],  # tip of the nose
        [41.5493, 92.3655],  # corner of the mouth on the left of the picture
        [70.7299, 92.2041],
    ]
)


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


def estimate_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift, without reflection, that bring `source` nearest to `target`.

    Args:
        source, target: ``[n, 2]``, corresponding points x, y.

    Returns:
        float64 ``[2, 3]``: ``target ≈ source @ m[:, :2].T + m[:, 2]`` with the least sum of squared
        distances. Points that all coincide are moved onto the target's centre unscaled.
    """
    # In the plane, a rotation with scale is the product with a complex number, so that Umeyama's
    # singular value decomposition becomes the regression of one complex number on another.
    p, q = (np.asarray(x, np.float64) @ (1, 1j) for x in (source, target))
    p_centred, q_centred = p - p.mean(), q - q.mean()
    spread = np.vdot(p_centred, p_centred).real
    turn = np.vdot(p_centred, q_centred) / spread if spread > 0 else 1 + 0j
    shift = q.mean() - turn * p.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def crop_similar(image: np.ndarray, landmarks: np.ndarray, image_size: int) -> np.ndarray:
    """The face with its landmarks on ArcFace's template; black beyond the image's edges.

    Args:
        image: uint8 ``[h, w, 3]``.
        landmarks: ``[10]``: x, y of both eyes, nose, both corners of the mouth, in pixels.
        image_size: side of the result; the template is scaled from 112 to it.

    Returns:
        uint8 ``[image_size, image_size, 3]``, interpolated bilinearly. A face that shrinks to less
        than half is first scaled down by averaging, for interpolation alone skips pixels.
    """
    points = np.asarray(landmarks, np.float64).reshape(5, 2)
    target = TEMPLATE * (image_size / TEMPLATE_SIZE)
    matrix = estimate_similarity(points, target)
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    factor = int(min(1 / max(scale, 1e-3), *image.shape[:2]))
    if factor > 1:
        image = np.asarray(Image.fromarray(image).reduce(factor))
        matrix = estimate_similarity((points + 0.5) / factor - 0.5, target)
    return cv2.warpAffine(image, matrix, (image_size, image_size), borderValue=0)
