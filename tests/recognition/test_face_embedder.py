"""`FaceEmbedder`: photographs in, embeddings out."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from facenet_core import FaceEmbedder
from facenet_core.alignment.faces import load_detector
from facenet_core.config import AlignConfig
from facenet_core.errors import ConfigError, FacenetError, StorageError
from facenet_core.imaging.decode import UndecodableImage, decode
from facenet_core.models.face_model import FaceModel
from facenet_core.models.formats import export, onnx
from facenet_core.models.formats.onnx import OnnxOptions
from facenet_core.models.runtimes import open_runtime
from facenet_core.models.standardization import FIXED
from facenet_core.recognition.embedder import NoFace
from facenet_core.recognition.threshold import as_euclidean
from facenet_core.storage import retrying
from tests.support.onnx_models import arcface, save
from tests.support.small_network import small_network


def save_exported(network, file):
    """As `facenet export` does: pixels in, embeddings out."""
    FaceModel.from_network(network, FIXED).pixels_to_embeddings.save(file)


@pytest.fixture
def exported(tmp_path):
    file = str(tmp_path / "exported.keras")
    save_exported(small_network(32, 12), file)
    return file


def test_embeds_one_row_for_each_photograph(embedder, files):
    embeddings = embedder.embed(files)
    assert embeddings.shape == (6, 16)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


def test_a_photograph_comes_as_path_bytes_pixels_or_picture(embedder, files):
    data = Path(files[0]).read_bytes()
    forms = [files[0], Path(files[0]), data, decode(data), Image.fromarray(decode(data))]
    embeddings = embedder.embed(forms)
    np.testing.assert_allclose(embeddings, embeddings[[0] * len(forms)], atol=1e-5)


def test_detect_gives_boxes_scores_and_crops(embedder, files):
    [face, *_] = embedder.detect(files[0])
    x1, y1, x2, y2 = face.box
    assert x1 < x2
    assert y1 < y2
    assert face.score > 0.7
    assert face.pixels.shape == (32, 32, 3)


def test_a_photograph_without_a_face_is_an_error_that_names_it(embedder, files, blank):
    with pytest.raises(NoFace, match="photograph 1: no face was found"):
        embedder.embed([files[0], blank])


def test_or_a_row_of_nan(model, files, blank):
    embeddings = FaceEmbedder(model, engine="keras", missing="nan").embed([blank, files[0]])
    assert np.isnan(embeddings[0]).all()
    assert np.isfinite(embeddings[1]).all()


def test_what_is_no_photograph_is_named(embedder, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"text")
    with pytest.raises(UndecodableImage, match=r"x\.jpg: not an image"):
        embedder.embed([str(tmp_path / "x.jpg")])
    with pytest.raises(FacenetError, match=r"gone\.jpg: no such photograph"):
        embedder.embed([str(tmp_path / "gone.jpg")])


def test_a_server_that_does_not_answer_is_not_a_missing_photograph(embedder, monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:1/a\.jpg"):
        embedder.embed(["http://127.0.0.1:1/a.jpg"])


@pytest.mark.parametrize("single", ["a.jpg", b"bytes", Path("a.jpg"), Image.new("RGB", (9, 9))])
def test_a_single_photograph_is_not_taken_for_a_list(embedder, single):
    for use in (embedder.embed, embedder.distances, embedder.first_faces):
        with pytest.raises(ValueError, match=r"for a single one: \[photograph\]"):
            use(single)


def test_photographs_come_as_a_column_too(embedder, files):
    column = pandas.Series(files[:2], index=[7, 8])
    np.testing.assert_allclose(embedder.embed(column), embedder.embed(files[:2]), atol=1e-6)


def test_an_unknown_way_with_missing_faces_is_an_error(model, files):
    with pytest.raises(ConfigError, match="missing: 'foo'; expected error or nan"):
        FaceEmbedder(model, engine="keras", missing="foo").embed(files[:1])


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda x: x / 255, r"\(x \* 255\)\.round"),
        (lambda x: x.astype(np.int64), r"x\.astype"),
        (lambda x: np.moveaxis(x, -1, -3), r"np\.moveaxis\(x, -3, -1\)"),
        (lambda x: x[..., 0], r"np\.repeat\(x\[\.\.\., None\], 3"),
        (lambda x: x[..., :1], r"np\.repeat\(x, 3"),
        (lambda x: np.concatenate([x, x[..., :1]], -1), r"x\[\.\.\., :3\]"),
        (lambda x: x.tolist(), "expected a NumPy array"),
    ],
    ids=["floats", "integers", "channels first", "grey", "one channel", "alpha", "lists"],
)
def test_pixels_that_are_not_uint8_rgb_are_refused_with_the_remedy(embedder, change, remedy):
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    detector = load_detector(AlignConfig())
    for use in (
        lambda: embedder.embed_crops(change(crops)),
        lambda: embedder.distances_of(change(crops)),
        lambda: embedder.face_model.embed(change(crops)),
        lambda: detector.detect([change(crops[0])]),
    ):
        with pytest.raises(ValueError, match=remedy):
            use()


def test_parameters_set_after_use_take_effect(model, exported, files):
    embedder = FaceEmbedder(model, engine="keras")
    assert embedder.compare(*files[:2]).threshold.report
    embedder.set_params(threshold=1e-9)
    assert embedder.compare(*files[:2]).same is False
    assert embedder.set_params(align=AlignConfig(image_size=48)).alignment.image_size == 48
    embedder.set_params(align=None, model=exported)
    assert embedder.embed(files[:1]).shape == (1, 12)


def test_a_model_is_loaded_once_for_all_embedders_of_a_process(model, exported):
    for uri in (model, exported):
        embedder = FaceEmbedder(uri)
        copies = [clone(embedder), pickle.loads(pickle.dumps(embedder)), FaceEmbedder(uri)]
        assert all(copy.face_model is embedder.face_model for copy in copies)
    save_exported(small_network(32, 8), exported)
    assert FaceEmbedder(exported).face_model.embedding_size == 8


def test_threads_share_a_model(model):
    pytest.importorskip("openvino")
    crops = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    expected = FaceEmbedder(model, engine="openvino").embed_crops(crops)
    with ThreadPoolExecutor(4) as threads:
        embedders = [FaceEmbedder(model, engine="openvino") for _ in range(8)]
        results = list(threads.map(lambda embedder: embedder.embed_crops(crops), embedders))
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_is_a_step_of_a_scikit_learn_pipeline(embedder, files):
    names = [Path(file).parent.name for file in files]
    pipeline = make_pipeline(embedder, KNeighborsClassifier(1)).fit(files, names)
    assert list(pipeline.predict(files)) == names
    assert list(embedder.get_feature_names_out())[:2] == ["embedding0", "embedding1"]


def test_is_cloned_and_pickled_by_its_parameters(embedder, model):
    for copy in (clone(embedder), pickle.loads(pickle.dumps(embedder))):
        assert copy.get_params() == embedder.get_params()
        assert copy.face_model.fingerprint == embedder.face_model.fingerprint


def test_compares_by_the_threshold_of_the_validation(embedder, files):
    comparison = embedder.compare(files[0], files[0])
    assert comparison.distance == pytest.approx(0, abs=1e-6)
    assert comparison.same is True
    assert comparison.threshold.distance == pytest.approx(0.5**0.5)  # validated: squared
    assert comparison.threshold.strict == pytest.approx(0.25**0.5)
    assert "/reports/small/" in comparison.threshold.report


def test_compares_by_a_threshold_of_ones_own(model, files):
    strict = FaceEmbedder(model, engine="keras", threshold=1e-9).compare(files[0], files[1])
    assert strict.same is False
    assert strict.threshold.report is None


def test_without_a_validation_says_only_how_far(model, files, root):
    comparison = FaceEmbedder(model, engine="keras", root=root).compare(files[0], files[1])
    assert comparison.same is None
    assert comparison.distance > 0


def test_crops_as_it_is_told(model, files):
    embedder = FaceEmbedder(model, align=AlignConfig(image_size=48, margin=0), engine="keras")
    assert embedder.detect(files[0])[0].pixels.shape == (48, 48, 3)


def test_an_arcface_network_gets_the_crops_of_its_preset(tmp_path, root, files):
    file = save(arcface(), tmp_path / "arcface.onnx")
    options = OnnxOptions("arcface")
    plan = onnx.plan_import(root, file, options)
    onnx.import_model(plan, file, options, {})
    embedder = FaceEmbedder(plan.uri, root=root)
    assert (embedder.alignment.crop, embedder.alignment.image_size) == ("similarity", 112)
    assert embedder.embed(files[:2]).shape == (2, 512)
    assert 0 < embedder.compare(files[0], files[3]).distance < 2


def test_openvino_gives_the_embeddings_of_keras(embedder):
    pytest.importorskip("openvino")
    crops = np.random.default_rng(0).integers(0, 256, (35, 40, 40, 3), np.uint8)
    fast = open_runtime(embedder.face_model, "openvino")(crops)
    assert export.least_cosine(fast, embedder.face_model.embed(crops)) >= 0.999


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_validations_threshold_becomes_a_euclidean_distance(metric, flipped):
    """Two embeddings at a right angle, in each convention that a validation may have used."""
    at_right_angle = 0.5 if metric == "cosine" else (4.0 if flipped else 2.0)
    assert as_euclidean(at_right_angle, metric, flipped) == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize("flipped", [False, True])
def test_distances_are_euclidean_of_unit_embeddings(model, files, flipped):
    embedder = FaceEmbedder(model, engine="keras")
    embedder.decision = replace(embedder.decision, use_flipped_images=flipped)
    crops = np.stack([face.pixels for face in embedder.first_faces(files[:2])])
    vectors = [embedder.embed_crops(crops, flipped=mirrored) for mirrored in (False, True)]
    joined = np.concatenate(vectors[: 1 + flipped], axis=1)
    unit = joined / np.linalg.norm(joined, axis=1, keepdims=True)
    expected = np.linalg.norm(unit[0] - unit[1])
    assert embedder.compare(*files[:2]).distance == pytest.approx(expected, abs=1e-6)
