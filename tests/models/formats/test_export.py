"""Exported models give the embeddings of the model, whatever runs them."""

import json
import zipfile
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from facenet_core import storage
from facenet_core.errors import ArtifactError, ConfigError, ModelError
from facenet_core.models import import_model
from facenet_core.models.face_model import MODEL_FILE, FaceModel
from facenet_core.models.formats import export
from facenet_core.models.networks import registry
from facenet_core.models.standardization import FIXED, PER_IMAGE, of_flag
from tests.support.small_network import small_network

SIZE = 32


def build(fixed: bool = False, scale: float = 1.0) -> FaceModel:
    network = small_network(SIZE, 16)
    kernel = network.get_layer("Bottleneck").kernel
    kernel.assign(kernel * scale)
    return FaceModel.from_network(network, of_flag(fixed), "small", "0" * 16)


@pytest.fixture(scope="module")
def embedder():
    return build()


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(3).integers(0, 256, (100, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def exported_as(embedder, tmp_path_factory):
    """What `export` wrote in a format, each once."""

    @cache
    def exported(format):
        if format == "onnx":
            pytest.importorskip("onnxruntime")
            pytest.importorskip("tf2onnx")
        folder = str(tmp_path_factory.mktemp(format))
        return export.export(embedder, format, folder, metadata={"threshold": 0.75})

    return exported


@pytest.mark.parametrize("format", export.FORMATS)
def test_an_export_agrees_with_keras(format, embedder, crops, exported_as):
    exported = exported_as(format)
    exported_embeddings = export.open_exported(Path(exported.uri), format)(crops)
    assert exported_embeddings.shape == (100, 16)
    assert export.least_cosine(exported_embeddings, embedder.embed(crops)) >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(exported_embeddings, axis=1), 1, rtol=1e-5)


METADATA = {"image_size": SIZE, "color": "RGB", "embedding_size": 16, "threshold": 0.75}


def described(format: str, path: str) -> dict:
    """Names and metadata of an exported model, as its format's own tools read them."""
    if format == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path)
        tensors = [*session.get_inputs(), *session.get_outputs()]
        assert [tensor.shape for tensor in tensors] == [["n", SIZE, SIZE, 3], ["n", 16]]
        names = [tensor.name for tensor in tensors]
        return {"names": names, **session.get_modelmeta().custom_metadata_map}
    import tensorflow as tf

    if format == "savedmodel":
        signature = tf.saved_model.load(path).signatures["serving_default"]
        names = [*signature.structured_input_signature[1], *signature.structured_outputs]
        metadata = Path(path, "assets.extra", "metadata.json").read_bytes()
    else:
        signature = tf.lite.Interpreter(path).get_signature_list()["serving_default"]
        names = [*signature["inputs"], *signature["outputs"]]
        metadata = zipfile.ZipFile(path).read("metadata.json")
    return {"names": names, **{key: str(v) for key, v in json.loads(metadata).items()}}


@pytest.mark.filterwarnings("ignore")  # of TFLite's new home
@pytest.mark.parametrize("format", ["onnx", "savedmodel", "tflite"])
def test_an_export_names_its_tensors_and_says_what_it_is_used_with(format, exported_as):
    description = described(format, exported_as(format).uri)
    assert description.pop("names") == ["image", "embedding"]
    assert "own mean and deviation" in description["standardization"]
    assert {name: description[name] for name in METADATA} == {
        k: str(v) for k, v in METADATA.items()
    }


def test_float16_is_smaller_and_keeps_the_embeddings(embedder, crops, exported_as, tmp_path):
    half = export.export(embedder, "tflite", str(tmp_path), float16=True)
    exported_embeddings = export.open_exported(Path(half.uri), "tflite")(crops)
    assert export.least_cosine(exported_embeddings, embedder.embed(crops)) >= 0.999
    assert half.bytes < exported_as("tflite").bytes


@pytest.mark.slow
@pytest.mark.parametrize("model_def", ["squeezenet", "inception_resnet_v1"])
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_an_export_of_a_whole_network_agrees_with_keras(model_def, format, tmp_path):
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("tf2onnx")
    network = registry.build(model_def, image_size=96, embedding_size=128)
    whole = FaceModel.from_network(network, PER_IMAGE, model_def, "0" * 16)
    exported = export.export(whole, format, str(tmp_path))
    crops = np.random.default_rng(3).integers(0, 256, (100, 96, 96, 3), np.uint8)
    exported_embeddings = export.open_exported(Path(exported.uri), format)(crops)
    assert export.least_cosine(exported_embeddings, whole.embed(crops)) >= 0.9999


@pytest.mark.parametrize(("fixed", "extension"), [(False, "keras"), (True, "KERAS")])
def test_an_exported_keras_file_is_a_model_for_every_command(
    fixed, extension, crops, tmp_path, root
):
    embedder = build(fixed)
    written = Path(export.export(embedder, "keras", str(tmp_path)).uri)
    uri = str(written.rename(tmp_path / f"faces.{extension}"))
    loaded = import_model.load(uri)
    np.testing.assert_allclose(loaded.embed(crops[:3]), embedder.embed(crops[:3]), atol=1e-6)
    brought = FaceModel.load(import_model.bring_in(root, uri, {}))
    np.testing.assert_array_equal(brought.embed(crops[:3]), loaded.embed(crops[:3]))
    assert brought.fingerprint == loaded.fingerprint


def test_an_export_that_differs_is_not_kept(tmp_path):
    beyond_float16 = build(scale=1e7)
    with pytest.raises(ModelError, match="differ from those of the model"):
        export.export(beyond_float16, "tflite", str(tmp_path), float16=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "float16", "message"),
    [("onnx", True, "float16 is for tflite"), ("caffe", False, "'caffe' is not known")],
)
def test_what_cannot_be_exported_is_refused(format, float16, message, embedder, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export.export(embedder, format, str(tmp_path), float16)


def test_a_file_that_takes_standardised_numbers_is_refused_alone(embedder, tmp_path):
    embedder.network.save(tmp_path / "network.keras")
    with pytest.raises(ModelError, match="nothing says how pixels are standardised"):
        import_model.load(str(tmp_path / "network.keras"))


def test_a_pickle_in_a_keras_file_is_named(embedder, tmp_path):
    uri = export.export(embedder, "keras", str(tmp_path)).uri
    with zipfile.ZipFile(uri, "a") as archive:
        archive.writestr("model.pkl", b"\x80\x04.")
    with pytest.raises(ModelError, match=r"model\.pkl has no place in it"):
        import_model.load(uri)


def test_a_configuration_that_asks_for_more_weights_than_the_file_holds_is_refused(tmp_path):
    images = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    keras.Model(images, keras.layers.Dense(54321)(pooled)).save(tmp_path / "dense.keras")
    path = tmp_path / "huge.keras"
    with zipfile.ZipFile(tmp_path / "dense.keras") as whole, zipfile.ZipFile(path, "w") as huge:
        for name in whole.namelist():
            huge.writestr(name, whole.read(name).replace(b"54321", b"1000000000"))
    with pytest.raises(ModelError, match=r"asks for [34],000,000,000 weights, its model"):
        import_model.load(str(path))
    import_model.load(str(tmp_path / "dense.keras"))
    remaining = keras.src.backend.common.global_state.get_global_attribute(
        "uninitialized_variables"
    )
    assert not remaining, "nothing that Keras would fill later"


def test_a_configuration_beyond_any_size_is_refused(embedder, tmp_path):
    uri = export.export(embedder, "keras", str(tmp_path)).uri
    path = tmp_path / "huge.keras"
    with (
        zipfile.ZipFile(uri) as whole,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as huge,
    ):
        for name in whole.namelist():
            spaces = b" " * 70_000_000 if name == "config.json" else b""
            huge.writestr(name, whole.read(name) + spaces)
    with pytest.raises(ModelError, match=r"its config\.json has 70,\d\d\d,\d\d\d bytes"):
        import_model.load(str(path))


def test_a_lambda_layer_is_not_executed(tmp_path):
    images = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    pooled = keras.layers.Lambda(lambda x: x, output_shape=(SIZE, SIZE, 3))(images)
    model = keras.Model(images, keras.layers.Flatten()(pooled))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ArtifactError, match="not a Keras model that can be read"):
        import_model.load(str(tmp_path / "lambda.keras"))


def test_the_command_writes_a_model_card(published_model, tmp_path, capsys):
    from flows.cli.main import main

    model, root = published_model
    out = str(tmp_path / "out")
    assert main(["export", model, "--output", out, "--storage", root]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == out
    card = json.loads(storage.read_bytes(f"{out}/model-card.json"))
    assert card["files"][0]["cosine"] > 0.9999
    text = storage.read_bytes(f"{out}/model-card.md").decode()
    assert "None is recorded" in text
    assert "learned to give the embeddings of 20170512-110547 (`0123456789abcdef`)" in text
    assert "* 20170512-110547: " in text.partition("## Licences")[2]


@pytest.fixture
def published_model(embedder, root):
    plan = storage.plan_stage(root, "train", "tiny", {}, [], 1)
    storage.write_bytes(storage.join(plan.uri, MODEL_FILE), b"")
    embedder.network.save(storage.join(plan.uri, MODEL_FILE))
    details = {
        "model_def": "small",
        "image_size": SIZE,
        "embedding_size": 16,
        "use_fixed_image_standardization": embedder.standardization == FIXED,
        "teacher": {"name": "20170512-110547", "fingerprint": "0123456789abcdef"},
    }
    storage.publish(
        plan, storage.Outcome([storage.describe_file(plan.uri, MODEL_FILE)], {}, details), {}
    )
    return plan.uri, root
