import hashlib
import io
import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facenet_core.datasets.pairs.generate import generate
from facenet_core.errors import ConfigError
from facenet_core.evaluation.protocol.verification import IndexedPairs, verify
from facenet_core.synthetic_faces import generate as synthetic
from facenet_core.synthetic_faces import head

ROOT = Path(__file__).parents[2]
SEED = 7


def test_names_are_those_of_lfw():
    assert synthetic.identity_name(42) == "Synthetic_00042"
    assert synthetic.image_id(42, 6) == "Synthetic_00042/Synthetic_00042_0007.jpg"


def test_a_picture_is_a_photograph_of_the_size_asked_for():
    picture = synthetic.draw(SEED, 3, 0)
    assert picture.shape == (250, 250, 3)
    assert picture.dtype == np.uint8
    assert synthetic.draw(SEED, 3, 0, size=128).shape == (128, 128, 3)


def test_the_file_is_a_jpeg_of_the_picture():
    encoded = Image.open(io.BytesIO(synthetic.encode(SEED, 3, 0)))
    assert (encoded.format, encoded.mode, encoded.size) == ("JPEG", "RGB", (250, 250))
    difference = np.asarray(encoded, float) - synthetic.draw(SEED, 3, 0)
    assert np.abs(difference).mean() < 10


@pytest.mark.parametrize("size", [0, 63, 513])
def test_a_size_that_cannot_be_drawn_is_refused(size):
    with pytest.raises(ConfigError, match="expected 64 to 512"):
        synthetic.draw(SEED, 0, 0, size=size)


@pytest.mark.parametrize(("seed", "person"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(seed, person):
    with pytest.raises(ConfigError, match="from 0 upwards"):
        synthetic.draw(seed, person, 0)


# --- The same every time ----------------------------------------------------------------------


def test_the_order_of_drawing_does_not_matter():
    rows = [(0, 0), (0, 1), (5, 0), (5, 2)]
    forwards = [synthetic.encode(SEED, *row) for row in rows]
    backwards = [synthetic.encode(SEED, *row) for row in reversed(rows)]
    assert forwards == backwards[::-1]


def test_another_process_draws_the_same():
    program = (
        "import hashlib; from facenet_core.synthetic_faces import generate as synthetic; "
        f"print(hashlib.sha256(synthetic.encode({SEED}, 5, 2)).hexdigest())"
    )
    run = [sys.executable, "-c", program]
    digests = {subprocess.check_output(run, cwd=ROOT, text=True) for _ in range(2)}
    assert digests == {hashlib.sha256(synthetic.encode(SEED, 5, 2)).hexdigest() + "\n"}


def test_seed_person_and_image_each_change_the_picture():
    pictures = {synthetic.encode(*key) for key in [(7, 0, 0), (8, 0, 0), (7, 1, 0), (7, 0, 1)]}
    assert len(pictures) == 4


def test_a_person_depends_on_seed_and_number_only():
    assert synthetic.identity(SEED, 9) == synthetic.identity(SEED, 9)
    people = [synthetic.identity(seed, index) for seed in (7, 8) for index in range(50)]
    assert len(set(people)) == 100


# --- Data sets --------------------------------------------------------------------------------


def test_rows_are_in_the_order_of_their_ids():
    rows = list(synthetic.members(SEED, identities=3, images_per_identity=2))
    assert [image_id for image_id, _, _ in rows] == sorted(image_id for image_id, _, _ in rows)
    assert [identity for _, identity, _ in rows] == [
        f"Synthetic_{person:05d}" for person in (0, 0, 1, 1, 2, 2)
    ]
    assert rows[3] == (synthetic.image_id(1, 1), "Synthetic_00001", synthetic.encode(SEED, 1, 1))


@settings(deadline=None, max_examples=5)
@given(st.lists(st.integers(0, 6), max_size=3))
def test_slices_join_to_the_whole(cuts):
    whole = [row[0] for row in synthetic.members(SEED, 3, 2)]
    edges = [0, *sorted(cuts), None]
    joined = []
    for start, stop in itertools.pairwise(edges):
        joined += [row[0] for row in synthetic.members(SEED, 3, 2, start=start, stop=stop)]
    assert joined == whole


def test_held_out_people_are_others_of_the_same_population():
    trained = dict(row[1:] for row in synthetic.members(SEED, 2, 1))
    held_out = dict(row[1:] for row in synthetic.members(SEED, 2, 1, first_identity=2))
    together = dict(row[1:] for row in synthetic.members(SEED, 4, 1))
    assert trained | held_out == together
    assert not trained.keys() & held_out.keys()


def test_only_the_rows_asked_for_are_drawn():
    rows = synthetic.members(SEED, 100_000, 9_999, start=999_899_999)
    assert next(rows)[0] == "Synthetic_99999/Synthetic_99999_9999.jpg"
    assert next(rows, None) is None


@pytest.mark.parametrize(
    ("extent", "message"),
    [
        ((0, 5), "at least one identity"),
        ((5, 0), "1 to 9999 images"),
        ((5, 10_000), "1 to 9999 images"),
        ((100_001, 1), "numbers from 0 to 99999"),
        ((1, 1, -1), "numbers from 0 to 99999"),
    ],
)
def test_data_sets_that_cannot_be_named_are_refused(extent, message):
    with pytest.raises(ConfigError, match=message):
        next(synthetic.members(SEED, *extent))


# --- What is in the pictures ------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    yaw=st.floats(-0.6, 0.6),
    pitch=st.floats(-0.25, 0.25),
    roll=st.floats(-0.3, 0.3),
    angle=st.floats(-0.4, 0.4),
    y=st.floats(-0.5, 0.9),
)
def test_a_pixel_sees_the_point_of_the_head_that_projects_onto_it(yaw, pitch, roll, angle, y):
    shape = head.profile(synthetic.identity(SEED, 0))
    row = shape.rows(np.array([y]))[0]
    point = [shape.width[row] * np.sin(angle), y, shape.depth[row] * np.cos(angle)]
    view = head.View(yaw, pitch, roll, unit=50.0, x=125.0, y=110.0)
    x_pixel, y_pixel = view.project(np.array([point]))[0]
    smooth = np.zeros((head.TEXTURE_HEIGHT, head.TEXTURE_WIDTH), np.float32)
    seen = head.look(shape, smooth, view, 250)
    at = int(y_pixel) - seen.top, int(x_pixel) - seen.left
    assert seen.coverage[at] == 1
    assert seen.u[at] == pytest.approx((angle + head.ANGLE_LIMIT) * head.U_SCALE, abs=4)
    assert seen.v[at] == pytest.approx((y - head.Y_TOP) * head.V_SCALE, abs=4)


@pytest.fixture(scope="module")
def detected():
    """What MTCNN finds in one picture each of 100 people."""
    from facenet_core.alignment.mtcnn.detector import MTCNN

    return MTCNN().detect([synthetic.draw(SEED, person, person % 5) for person in range(100)])


def _main_face(faces):
    """The number of the face in the middle, or None."""
    for number, (left, top, right, bottom) in enumerate(faces.boxes):
        if left < 125 < right and top < 125 < bottom and 70 < right - left < 140:
            return number
    return None


def test_the_detector_finds_the_main_face(detected):
    assert sum(_main_face(faces) is not None for faces in detected) >= 98


def test_landmarks_show_the_proportions_of_the_person(detected):
    seen, meant = [], []
    for number, faces in enumerate(detected):
        if (main := _main_face(faces)) is None:
            continue
        left_eye, right_eye, _, left_mouth, right_mouth = faces.landmarks[main].reshape(5, 2)
        drop = np.linalg.norm((left_mouth + right_mouth) / 2 - (left_eye + right_eye) / 2)
        seen.append(np.linalg.norm(right_eye - left_eye) / drop)
        person = synthetic.identity(SEED, number)
        meant.append(2 * person.eye_distance / (person.mouth_y - person.eye_y))
    # Yaw narrows the distance of the eyes, so that it is far from 1.
    assert np.corrcoef(seen, meant)[0, 1] > 0.4


def test_colours_alone_do_not_tell_people_apart():
    thumbnails, identity_of = [], {}
    for image_id, person, jpeg in synthetic.members(SEED, identities=60, images_per_identity=4):
        face = np.asarray(Image.open(io.BytesIO(jpeg)))[65:185, 65:185]
        thumbnails.append(cv2.resize(face, (8, 8), interpolation=cv2.INTER_AREA).ravel() / 1000)
        identity_of[image_id] = person
    row = {image_id: number for number, image_id in enumerate(identity_of)}
    drawn = generate(identity_of, nrof_folds=10, per_fold=30, seed=0)
    a, b = ([row[each] for each in side] for side in (drawn.image_id_a, drawn.image_id_b))
    pairs = IndexedPairs(np.array(a), np.array(b), drawn.same, drawn.fold)
    result = verify(np.array(thumbnails), pairs)
    assert 0.5 < result.accuracy < 0.75
