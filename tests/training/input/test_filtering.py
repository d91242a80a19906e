import numpy as np
import pytest

from facenet_core import storage
from facenet_core.training.input.data import open_data
from facenet_core.training.input.people import distances_to_centre
from tests.support.small_crops import write_crops
from tests.support.training_runs import SMALL, changed, run


def test_distances_are_to_the_mean_of_the_persons_embeddings():
    embeddings = np.array([[0.0, 0], [2, 0], [1, 3], [5, 5]], np.float32)
    distance = distances_to_centre(embeddings, np.array([1, 1, 1, 0]))
    np.testing.assert_allclose(distance, [2**0.5, 2**0.5, 2, 0], rtol=1e-6)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory):
    """A model of people among whose images one is of somebody else, and a training without it."""
    root = str(tmp_path_factory.mktemp("store"))
    clean = write_crops(f"{root}/clean", {"Cy": 8, "Ann": 8, "Bob": 8})
    model = run(root, clean, changed(SMALL, max_nrof_epochs=20))
    mixed = write_crops(root, {"Cy": 8, "Ann": 8, "Bob": 8}, wrong={"Ann/Ann_0003.jpg": "Bob"})
    config = changed(SMALL, filter_model=model, filter_percentile=95.8, max_nrof_epochs=1)
    return run(root, mixed, config), mixed, config, model


def test_an_image_of_somebody_else_is_left_out(filtered):
    manifest = storage.open_artifact(filtered[0], "train")
    assert manifest.counts["training_images"] == 23
    assert [source.uri for source in manifest.inputs] == [filtered[1], filtered[3]]


def test_which_image_that_is(filtered):
    _, mixed, config, _ = filtered
    data = open_data(mixed, config)
    (left_out,) = np.flatnonzero(data.selection.labels < 0)
    assert data.crops.image_id(left_out) == "Ann/Ann_0003.jpg"


def test_a_percentile_needs_a_model():
    with pytest.raises(ValueError, match="set filter_model"):
        changed(SMALL, filter_percentile=90)
