import subprocess
import sys

import numpy as np
import pytest

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.models.face_model import MODEL_FILE, FaceModel, fit
from facenet_core.models.networks import registry

SIZE, DIMENSIONS = 32, 8
DETAILS = {
    "image_size": SIZE,
    "embedding_size": DIMENSIONS,
    "use_fixed_image_standardization": True,
}


@pytest.fixture(scope="module")
def model_uri(tmp_path_factory):
    plan = storage.plan_stage(str(tmp_path_factory.mktemp("store")), "train", "tiny", {}, [], 1)
    with storage.new_file(storage.join(plan.uri, MODEL_FILE)) as path:
        local = path.parent / MODEL_FILE
        registry.build("squeezenet", image_size=SIZE, embedding_size=DIMENSIONS).save(local)
        local.rename(path)
    part = storage.describe_file(plan.uri, MODEL_FILE)
    storage.publish(plan, storage.Outcome([part], {}, DETAILS), {})
    return plan.uri


@pytest.fixture(scope="module")
def embedder(model_uri):
    return FaceModel.load(model_uri)


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (35, SIZE, SIZE, 3), np.uint8)


def test_embeddings_have_unit_length(embedder, crops):
    embeddings = embedder.embed(crops)
    assert embeddings.shape == (35, DIMENSIONS)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 3, 33])
def test_an_embedding_does_not_depend_on_its_company(embedder, crops, n):
    np.testing.assert_allclose(embedder.embed(crops[:n]), embedder.embed(crops)[:n], atol=1e-5)


def test_pixels_are_standardised_as_the_model_was_trained(embedder, crops):
    prelogits = np.asarray(embedder.network((crops[:2].astype(np.float32) - 127.5) / 128))
    expected = prelogits / np.linalg.norm(prelogits, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.embed(crops[:2]), expected, atol=1e-5)


def test_larger_crops_are_cut_to_their_centre(crops):
    framed = np.pad(crops, ((0, 0), (5, 6), (1, 2), (0, 0)))
    assert np.array_equal(fit(framed, SIZE), crops)


@pytest.mark.parametrize("shape", [(2, 20, 20, 3), (0, 20, 20, 3)])
def test_smaller_crops_are_resized(shape):
    assert np.array_equal(
        fit(np.full(shape, 7, np.uint8), SIZE), np.full((shape[0], SIZE, SIZE, 3), 7, np.uint8)
    )


def test_smaller_crops_that_are_not_square_get_black_margins():
    fitted = fit(np.full((2, 20, 30, 3), 7, np.uint8), SIZE)
    square = np.zeros((2, 30, 30, 3), np.uint8)
    square[:, 5:25] = 7
    assert np.array_equal(fitted, fit(square, SIZE))
    assert fitted[:, 0].max() == 0


@pytest.mark.parametrize(
    "crops", [np.zeros((2, SIZE, SIZE, 3), np.float32), np.zeros((SIZE, SIZE, 3), np.uint8)]
)
def test_anything_but_a_batch_of_uint8_crops_is_refused(embedder, crops):
    with pytest.raises(ValueError, match=r"crops: expected uint8 \[n, h, w, 3\]"):
        embedder.embed(crops)


def test_names_the_artifact_it_came_from(embedder, model_uri):
    assert embedder.name == "tiny"
    assert model_uri.endswith(embedder.fingerprint)


def test_a_folder_without_a_finished_model_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match="no finished artifact here"):
        FaceModel.load(str(tmp_path))


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    plan = storage.plan_stage(str(tmp_path), "train", "broken", {}, [], 1)
    storage.write_bytes(storage.join(plan.uri, MODEL_FILE), b"not a model")
    part = storage.describe_file(plan.uri, MODEL_FILE)
    storage.publish(plan, storage.Outcome([part], {}, DETAILS), {})
    with pytest.raises(ArtifactError, match="not a Keras model"):
        _ = FaceModel.load(plan.uri).network


def test_a_model_is_described_without_loading_keras(model_uri):
    script = (
        "import sys\n"
        "from facenet_core.models.face_model import FaceModel\n"
        f"model = FaceModel.load({model_uri!r})\n"
        "print(model.image_size, model.embedding_size, model.standardization)\n"
        "print('loaded:', {'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{SIZE} {DIMENSIONS} (x − 127.5)/128\nloaded: set()\n"
