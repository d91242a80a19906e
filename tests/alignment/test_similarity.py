from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from facenet_core.alignment.similarity import TEMPLATE, crop_similar, estimate_similarity

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
    found = estimate_similarity(source, target)
    np.testing.assert_allclose(found, umeyama(source, target), rtol=1e-6, atol=1e-6)


@given(st.floats(-3, 3), st.floats(0.05, 20), st.tuples(coordinates, coordinates))
def test_a_similarity_is_recovered(angle, scale, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = TEMPLATE @ turn.T + shift
    found = estimate_similarity(TEMPLATE, moved)
    np.testing.assert_allclose(found, np.column_stack([turn, shift]), atol=1e-6)


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
    found = centres[1:][np.lexsort((centres[1:, 0], centres[1:, 1].round(-1)))]
    expected = TEMPLATE * image_size / 112
    distances = np.linalg.norm(found[:, None] - expected[None], axis=2).min(axis=0)
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
