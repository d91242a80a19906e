"""Training by triplets: rounds of P people and K images, resumable in their midst."""

import numpy as np
import pytest

from facenet_core.errors import TrainingError
from facenet_core.models.face_model import FaceModel
from tests.support.small_crops import draw, write_crops
from tests.support.training_runs import SMALL, Killed, changed, history, kill_at, run, weights

TRIPLETS = changed(
    SMALL,
    loss="triplet",
    people_per_batch=3,
    images_per_person=4,
    alpha=1.9,
    learning_rate=0.005,
    random_flip=True,
    checkpoint_every=4,
)


@pytest.fixture(scope="module")
def through(tmp_path_factory, crops_uri):
    return run(str(tmp_path_factory.mktemp("store")), crops_uri, TRIPLETS)


@pytest.mark.parametrize("step", [4, 7])
def test_an_interrupted_training_chooses_the_same_triplets(root, crops_uri, through, step):
    with pytest.raises(Killed):
        run(root, crops_uri, TRIPLETS, "first", kill_at(step))
    resumed = run(root, crops_uri, TRIPLETS, "second")
    assert history(resumed) == history(through)
    for one, other in zip(weights(resumed), weights(through), strict=True):
        np.testing.assert_array_equal(one, other)


def test_history_has_the_triplet_loss_instead_of_the_cross_entropy(through):
    rows = history(through)
    assert all(row["cross_entropy"] is None and row["center_loss"] is None for row in rows)
    assert all(row["loss"] == pytest.approx(row["triplet_loss"]) for row in rows)


def test_learns_to_tell_people_apart_and_ends_when_no_triplet_is_left(root, crops_uri, caplog):
    config = changed(
        TRIPLETS, max_nrof_epochs=60, learning_rate=0.05, alpha=0.2, triplet_selection="semi_hard"
    )
    uri = run(root, crops_uri, config)
    embedder = FaceModel.load(uri)
    ann, bob = (embedder.embed(np.stack([draw(p, shot) for shot in (98, 99)])) for p in (1, 2))
    assert np.linalg.norm(ann[0] - ann[1]) < np.linalg.norm(ann - bob, axis=1).min()
    assert "no triplet within alpha 0.2" in caplog.text
    assert history(uri)[-1]["step"] < 300


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 10}, "multiple of 3"),
        ({"center_loss_factor": 0.1}, "knows no classes"),
        ({"validation_set_split_ratio": 0.1}, "no classifier to validate"),
    ],
)
def test_settings_that_need_classes_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        changed(TRIPLETS, **fields)


def test_people_with_one_image_each_are_an_error(root):
    crops = write_crops(root, {"Ann": 1, "Bob": 1, "Cy": 1})
    with pytest.raises(TrainingError, match=r"no triplet to train on.*no person has two images"):
        run(root, crops, TRIPLETS)
