from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.alignment.mtcnn import pyramid as bx


def test_the_pyramid_begins_where_the_smallest_face_fills_a_cell():
    scales = bx.pyramid_scales(250, 250, minsize=20, factor=0.709)
    assert scales[0] == 12 / 20
    assert len(scales) == 8
    assert 250 * scales[-1] >= 12 > 250 * scales[-1] * 0.709


@pytest.mark.parametrize("size", [(19, 400), (400, 19), (1, 1)])
def test_an_image_that_cannot_hold_the_smallest_face_has_no_pyramid(size):
    assert bx.pyramid_scales(*size, minsize=20, factor=0.709) == []


@pytest.mark.parametrize(
    "size", [(250, 250), (240, 330), (320, 213), (57, 41), (720, 811), (1000, 1300), (20, 9000)]
)
def test_pyramid_levels_are_area_averages_rounded_to_bytes(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    scales = [1.0, 0.6, 0.31, 0.1, 0.05]
    for level, scale in zip(bx.pyramid(image, scales), scales, strict=True):
        shape = int(np.ceil(size[0] * scale)), int(np.ceil(size[1] * scale))
        expected = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
        assert level.dtype == np.uint8
        np.testing.assert_array_equal(level, expected)


def test_corners_shift_by_shares_of_the_sides():
    box = np.array([[10.0, 20, 29, 59]])
    offsets = np.array([[0.5, 0.25, -0.5, 0.0]])
    inclusive = bx.shift_corners(box, offsets, inclusive=True)
    exclusive = bx.shift_corners(box, offsets, inclusive=False)
    np.testing.assert_allclose(inclusive, [[20, 30, 19, 59]])
    np.testing.assert_allclose(exclusive, [[19.5, 29.75, 19.5, 59]])


numbers = st.floats(-500, 500)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=5))
def test_squares_keep_the_centre_and_the_longer_side(rows):
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows])
    squares = bx.to_squares(boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    expected = np.repeat(sides.max(axis=1), 2).reshape(-1, 2)
    np.testing.assert_allclose(squares[:, 2:] - squares[:, :2], expected, atol=1e-9)
    np.testing.assert_allclose(
        squares[:, :2] + squares[:, 2:], boxes[:, :2] + boxes[:, 2:], atol=1e-9
    )


@given(
    corner=st.tuples(st.integers(-60, 60), st.integers(-60, 60)),
    side=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_what_is_cut_out_is_black_beyond_the_edge(corner, side):
    image = np.random.default_rng(0).integers(1, 256, (31, 40, 3), dtype=np.uint8)
    (x, y), (width, height) = corner, side
    # The first pixel has the coordinate 1, and both corners belong to the box.
    framed = np.pad(image, ((130, 130), (130, 130), (0, 0)))
    under = framed[129 + y : 130 + y + height, 129 + x : 130 + x + width].astype(np.float32)
    expected = cv2.resize(under, (24, 24), interpolation=cv2.INTER_AREA)
    for pixels in (image, bx.as_floats(image)):
        result = np.full((24, 24, 3), np.nan, np.float32)
        bx.cut_out(pixels, (x, y, x + width, y + height), result)
        np.testing.assert_array_equal(result, expected)
