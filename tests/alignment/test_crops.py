from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from facenet_core.alignment.crops import (
    TEMPLATE,
    choose_face,
    crop,
    crop_box,
    crop_similar,
    estimate_similarity,
)
from facenet_core.imaging.decode import decode, encode

HEIGHT, WIDTH = 120, 90
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_of_faces_equally_central_the_larger_is_chosen():
    boxes = np.array([[40, 55, 50, 65], [25, 40, 65, 80]], np.float32)
    assert choose_face(boxes, (120, 90)) == 1


def test_of_faces_equally_large_the_more_central_is_chosen():
    boxes = np.array([[0, 0, 30, 30], [30, 45, 60, 75], [60, 90, 90, 120]], np.float32)
    assert choose_face(boxes, (120, 90)) == 1


def test_distance_from_the_centre_counts_twice_squared():
    central = [95.0, 95, 105, 105]  # 100 square pixels
    ten_off_with_298 = [100, 100 - 7.45, 120, 100 + 7.45]
    ten_off_with_302 = [100, 100 - 7.55, 120, 100 + 7.55]
    assert choose_face(np.array([central, ten_off_with_298]), (200, 200)) == 0
    assert choose_face(np.array([central, ten_off_with_302]), (200, 200)) == 1


def test_a_single_face_is_chosen_wherever_it_is():
    assert choose_face(np.array([[-30.0, -30, 2, 2]]), (200, 200)) == 0


coordinates = st.floats(-40, 160, width=32)


@st.composite
def boxes(draw):
    """Boxes over the image, partly beyond its edges."""
    low = draw(st.integers(-20, WIDTH - 3)), draw(st.integers(-20, HEIGHT - 3))
    high = [draw(st.integers(max(v, 0) + 3, 150)) for v in low]
    fractions = draw(st.lists(st.floats(0, 0.96875, width=32), min_size=4, max_size=4))
    return np.array([*low, *high], np.float32) + np.array(fractions, np.float32)


def as_the_original_cropped(image, box, image_size, margin):
    """The rule of align_dataset_mtcnn.py: int32 takes the whole part, Pillow resizes."""
    bounds = np.zeros(4, dtype=np.int32)
    bounds[0] = np.maximum(np.float64(box[0]) - margin / 2, 0)
    bounds[1] = np.maximum(np.float64(box[1]) - margin / 2, 0)
    bounds[2] = np.minimum(np.float64(box[2]) + margin / 2, image.shape[1])
    bounds[3] = np.minimum(np.float64(box[3]) + margin / 2, image.shape[0])
    x1, y1, x2, y2 = bounds
    face = Image.fromarray(image[y1:y2, x1:x2])
    return np.array(face.resize((image_size, image_size), Image.BILINEAR))


@given(box=boxes(), margin=st.integers(0, 50), image_size=st.sampled_from([16, 47, 160]))
def test_crops_are_the_original_rule_pixel_for_pixel(box, margin, image_size):
    expected = as_the_original_cropped(IMAGE, box, image_size, margin)
    result = crop(IMAGE, box, image_size, margin)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


@given(st.tuples(coordinates, coordinates, coordinates, coordinates), st.integers(0, 50))
def test_a_crop_always_holds_a_pixel_of_the_image(box, margin):
    x1, y1, x2, y2 = crop_box(np.array(box), margin, IMAGE.shape)
    assert 0 <= x1 < x2 <= WIDTH
    assert 0 <= y1 < y2 <= HEIGHT


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ([20.9, 30.9, 40.9, 60.9], 0, (20, 30, 40, 60)),
        ([20.9, 30.9, 40.9, 60.9], 32, (4, 14, 56, 76)),
        ([20.0, 30.0, 40.0, 60.0], 3, (18, 28, 41, 61)),
        ([-5.0, 3.0, 88.0, 130.0], 10, (0, 0, 90, 120)),
    ],
)
def test_half_of_the_margin_goes_on_each_side(box, margin, expected):
    assert crop_box(np.array(box), margin, IMAGE.shape) == expected


@pytest.mark.parametrize("dataset", ["lfw-originals", "lfw-dev", "celeba-dev"])
def test_png_crops_of_the_reference_faces_are_the_original_rule_pixel_for_pixel(
    photographs, dataset
):
    for photo in photographs(dataset, 6):
        if not len(photo.boxes):
            continue
        box = photo.boxes[choose_face(photo.boxes, photo.image.shape)]
        written = encode(crop(photo.image, box, 182, 44), "png")
        expected = as_the_original_cropped(photo.image, box, 182, 44)
        np.testing.assert_array_equal(decode(written), expected, err_msg=photo.name)


def as_the_original_chose(boxes, image_shape):
    """The rule of align_dataset_mtcnn.py, in its own terms."""
    centre = np.asarray(image_shape)[0:2] / 2
    size = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    offsets = np.vstack(
        [
            (boxes[:, 0] + boxes[:, 2]) / 2 - centre[1],
            (boxes[:, 1] + boxes[:, 3]) / 2 - centre[0],
        ]
    )
    return np.argmax(size - np.sum(np.power(offsets, 2.0), 0) * 2.0)


def test_the_face_chosen_among_the_references_is_the_originals(photographs):
    several = [photo for photo in photographs("celeba-dev", 1) if len(photo.boxes) > 1]
    assert several
    for photo in several:
        expected = as_the_original_chose(photo.boxes, photo.image.shape)
        assert choose_face(photo.boxes, photo.image.shape) == expected, photo.name


coordinates = st.floats(-500, 500, width=32)
points = st.lists(st.tuples(coordinates, coordinates), min_size=5, max_size=5).map(np.array)


def umeyama(source, target):
    """Equations 40 to 42 of the paper."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, d, vt = np.linalg.svd(covariance)
    s = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(s) @ vt
    scale = (d * s).sum() / (source - source_mean).var(axis=0).sum()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


@given(points, points)
def test_it_is_umeyamas_estimate(source, target):
    assume(np.ptp(source, axis=0).max() > 1)
    p, q = ((x - x.mean(0)) @ (1, 1j) for x in (source, target))
    assume(abs(np.vdot(p, q)) > 1e-3 * np.linalg.norm(p))  # else any rotation is as good
    similarity = estimate_similarity(source, target)
    np.testing.assert_allclose(similarity, umeyama(source, target), rtol=1e-6, atol=1e-6)


@given(st.floats(-3, 3), st.floats(0.05, 20), st.tuples(coordinates, coordinates))
def test_a_similarity_is_recovered(angle, scale, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = TEMPLATE @ turn.T + shift
    similarity = estimate_similarity(TEMPLATE, moved)
    np.testing.assert_allclose(similarity, np.column_stack([turn, shift]), atol=1e-6)


def dotted(landmarks: np.ndarray, side: int, radius: int) -> np.ndarray:
    """A grey picture with a white dot at each landmark."""
    image = np.full((side, side, 3), 90, np.uint8)
    for x, y in landmarks:
        cv2.circle(image, (round(x), round(y)), radius, (255, 255, 255), -1)
    return image


@pytest.mark.parametrize("image_size", [112, 160, 224])
@pytest.mark.parametrize(("scale", "angle"), [(1.0, 0.0), (0.7, 0.5), (1.9, -0.3), (9.3, 2.8)])
def test_the_landmarks_come_to_lie_on_the_template(image_size, scale, angle):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE - 56) @ turn.T + 700
    image = dotted(landmarks, 1400, radius=max(round(3 * scale), 3))
    crop = crop_similar(image, landmarks.reshape(-1), image_size)
    assert crop.shape == (image_size, image_size, 3)
    assert crop.dtype == np.uint8
    count, _, _, centres = cv2.connectedComponentsWithStats(np.uint8(crop[:, :, 0] > 170))
    assert count == 6
    result = centres[1:][np.lexsort((centres[1:, 0], centres[1:, 1].round(-1)))]
    expected = TEMPLATE * image_size / 112
    distances = np.linalg.norm(result[:, None] - expected[None], axis=2).min(axis=0)
    assert distances.max() < image_size / 112


def test_beyond_the_edges_it_is_black():
    image = np.full((100, 100, 3), 200, np.uint8)
    crop = crop_similar(image, (TEMPLATE - [60, 0]).reshape(-1), 112)
    assert (crop[:, :60] == 0).all()
    assert (crop[:100, 60:] == 200).all()
    assert (crop[100:] == 0).all()


@pytest.mark.parametrize("place", [[50, 50], [-400, 3000]])
def test_landmarks_that_coincide_still_give_a_crop(place):
    image = np.full((100, 100, 3), 200, np.uint8)
    assert crop_similar(image, np.array(place * 5), 112).shape == (112, 112, 3)


def test_a_large_face_is_averaged_not_sampled():
    noise = np.random.default_rng(0).integers(0, 256, (1120, 1120, 3), dtype=np.uint8)
    crop = crop_similar(noise, (TEMPLATE * 10).reshape(-1), 112)
    assert crop.std() < noise.std() / 5
