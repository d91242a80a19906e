"""Crops in which eyes, nose and mouth always lie at the same places, as ArcFace's models want them.

The five landmarks are moved onto a template by the similarity (rotation, scale, shift) of least
squares: Umeyama, "Least-squares estimation of transformation parameters between two point
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
