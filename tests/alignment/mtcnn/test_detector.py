from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facenet_core.alignment.mtcnn.detector import MTCNN

# Here P-Net gives several windows the probability 1, and their order decides what is found.
TIES = {
    "lfw-dev": [
        "Ben_Cohen/Ben_Cohen_0001.jpg",
        "Bob_Newhart/Bob_Newhart_0001.jpg",
        "Theodore_Tweed_Roosevelt/Theodore_Tweed_Roosevelt_0003.jpg",
    ],
    "celeba-dev": [
        "07207/132823.jpg",
        "07337/010366.jpg",
        "07357/064867.jpg",
        "07431/014918.jpg",
    ],
}


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of one box with each of the others."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)


def assert_as_the_original(detector, photographs):
    results = []
    for start in range(0, len(photographs), 16):
        results += detector.detect([p.image for p in photographs[start : start + 16]])
    for photograph, faces in zip(photographs, results, strict=True):
        assert len(faces) == len(photograph.boxes), photograph.name
        for box, score, landmarks in zip(
            photograph.boxes, photograph.scores, photograph.landmarks, strict=True
        ):
            overlap = iou(box, faces.boxes)
            match = overlap.argmax()
            assert overlap[match] > 0.999, photograph.name
            assert faces.scores[match] == pytest.approx(score, abs=1e-4), photograph.name
            assert faces.landmarks[match] == pytest.approx(landmarks, abs=0.01), photograph.name


@pytest.mark.parametrize(("dataset", "every"), [("lfw-dev", 11), ("lfw-originals", 5)])
def test_finds_what_the_original_found(detector, photographs, dataset, every):
    assert_as_the_original(detector, photographs(dataset, every))


def test_finds_what_the_original_found_in_photographs_of_many_sizes(detector, photographs):
    assert_as_the_original(detector, photographs("celeba-dev", 11))


@pytest.mark.parametrize("dataset", TIES)
def test_finds_what_the_original_found_where_windows_score_equally(detector, photographs, dataset):
    assert_as_the_original(detector, photographs(dataset, TIES[dataset]))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_finds_what_the_original_found_in_every_reference_photograph(photographs, engine):
    pytest.importorskip(engine)
    detector = MTCNN(runtime=engine)
    for dataset in ("lfw-dev", "celeba-dev", "lfw-originals"):
        assert_as_the_original(detector, photographs(dataset, 1))


def test_both_engines_find_the_same(photographs):
    pytest.importorskip("openvino")
    images = [p.image for p in photographs("celeba-dev", 40)]
    one, other = (MTCNN(runtime=name).detect(images) for name in ("openvino", "tensorflow"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-2)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(picks=st.lists(st.integers(0, 7), min_size=1, max_size=12))
def test_what_is_found_does_not_depend_on_the_other_images(detector, photographs, picks):
    images, alone = _alone(detector, photographs)
    together = detector.detect([images[i] for i in picks])
    for i, faces in zip(picks, together, strict=True):
        np.testing.assert_allclose(faces.boxes, alone[i].boxes, atol=1e-3)
        np.testing.assert_allclose(faces.landmarks, alone[i].landmarks, atol=1e-3)
        np.testing.assert_allclose(faces.scores, alone[i].scores, atol=1e-5)


_CACHE: dict[str, tuple] = {}


def _alone(detector, photographs):
    """Four photographs, and four parts of them in other sizes, with what is found in each."""
    if not _CACHE:
        images = [p.image for p in photographs("lfw-originals", 13)]
        images += [image[10 + 7 * i : 231 - 3 * i, 11:240] for i, image in enumerate(images)]
        _CACHE["alone"] = images, [detector.detect([image])[0] for image in images]
    return _CACHE["alone"]


def test_an_image_larger_than_a_canvas_is_seen_whole(detector, photographs):
    [photograph] = photographs("lfw-originals", ["Tony_Blair/Tony_Blair_0001.jpg"])
    wall = np.zeros((900, 1500, 3), np.uint8)
    corners = [(0, 0), (0, 1250), (325, 571), (650, 0), (650, 1250)]
    for y, x in corners:
        wall[y : y + 250, x : x + 250] = photograph.image
    [faces] = detector.detect([wall])
    for y, x in corners:
        expected = photograph.boxes[0] + [x, y, x, y]
        assert iou(expected, faces.boxes).max() > 0.9


def test_no_images_give_no_detections(detector):
    assert detector.detect([]) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (11, 300, 3), (20, 20, 3), (64, 48, 3)])
def test_an_image_without_a_face_gives_an_empty_detection(detector, shape):
    [faces] = detector.detect([np.full(shape, 127, np.uint8)])
    assert len(faces) == 0
    assert faces.boxes.shape == (0, 4)
    assert faces.scores.shape == (0,)
    assert faces.landmarks.shape == (0, 10)


def test_results_come_as_float32_by_descending_score(detector, photographs):
    for photograph in photographs("lfw-dev", 30):
        [faces] = detector.detect([photograph.image])
        assert {faces.boxes.dtype, faces.scores.dtype, faces.landmarks.dtype} == {
            np.dtype(np.float32)
        }
        assert (np.diff(faces.scores) <= 0).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
    ],
)
def test_rejects_what_is_not_a_uint8_rgb_image(detector, image):
    with pytest.raises(ValueError, match=r"image 0: expected uint8 \[h, w, 3\]"):
        detector.detect([image])


def test_a_single_image_is_not_taken_for_several(detector):
    with pytest.raises(ValueError, match=r"for one: detect\(\[image\]\)"):
        detector.detect(np.zeros((40, 40, 3), np.uint8))


@pytest.mark.parametrize("wrong", [{"minsize": 11}, {"factor": 1.0}, {"factor": 0.0}])
def test_rejects_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MTCNN(**wrong)


def test_threads_are_set_for_the_process_and_cannot_change_later():
    script = """
import cv2
import tensorflow as tf
from facenet_core.alignment.mtcnn.detector import MTCNN
from facenet_core.alignment.mtcnn.weights import DetectorError
MTCNN(threads=1, runtime="tensorflow")
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
assert tf.config.threading.get_inter_op_parallelism_threads() == 1
assert cv2.getNumThreads() == 1
MTCNN(threads=1, runtime="tensorflow")
try:
    MTCNN(threads=2, runtime="tensorflow")
except DetectorError as error:
    assert "already runs in this process with 1" in str(error), error
else:
    raise AssertionError("two settings in one process")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
