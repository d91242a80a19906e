"""Models from TensorFlow 1: what is taken of them, and what is refused."""

import shutil

import numpy as np
import pytest

from facenet_core import storage
from facenet_core.errors import ModelError
from facenet_core.models import import_model
from facenet_core.models.face_model import FaceModel
from facenet_core.models.formats import files, weights
from facenet_core.models.formats.files import ModelFiles
from facenet_core.models.formats.weights import ImportOptions
from flows.cli.main import main
from tests.support import tf1_models
from tests.support.tf1_models import simple_weight, write_checkpoint, write_frozen

SMALL = ImportOptions(image_size=32)
INDEX = "model-20170512-110547.ckpt-250000.index"
DATA = "model-20170512-110547.ckpt-250000.data-00000-of-00001"


@pytest.fixture(scope="module")
def shapes():
    return tf1_models.squeezenet_shapes()


@pytest.fixture(scope="module")
def published(shapes, tmp_path_factory):
    """A folder as training left it, with the classifier, centers and optimizer slots."""
    folder = tmp_path_factory.mktemp("20170512-110547")
    return write_checkpoint(folder, {**shapes, **tf1_models.TRAINING})


@pytest.fixture(scope="module")
def original(published):
    """The embedder of the published folder."""
    return load(published)


@pytest.fixture
def copy(published, tmp_path):
    """The same, to be damaged."""
    return shutil.copytree(published, tmp_path / "copy")


def load(path, options=SMALL):
    return weights.load_model(str(path), options)


def kernel(embedder):
    return np.asarray(embedder.network.get_layer("conv1").kernel)


def test_what_an_operating_system_left_beside_a_model_is_ignored(tmp_path):
    for name in ("20170512-110547.pb", "._20170512-110547.pb", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    assert files.find(str(tmp_path)).uris == (str(tmp_path / "20170512-110547.pb"),)


def test_what_training_left_beside_the_network_is_ignored(original):
    assert original.embedding_size == 8
    assert original.name == "20170512-110547"
    np.testing.assert_array_equal(
        kernel(original), simple_weight("squeezenet/conv1/weights", (7, 7, 3, 96))
    )


def test_a_frozen_graph_gives_the_same_network_as_the_checkpoint(original, shapes, tmp_path):
    frozen = load(write_frozen(tmp_path / "20170512-110547.pb", shapes))
    for a, b in zip(frozen.network.variables, original.network.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("average", [True, False])
def test_moving_averages_stand_for_the_weights_unless_told_otherwise(average, shapes, tmp_path):
    name = "squeezenet/conv1/weights"
    averaged = f"{name}/ExponentialMovingAverage"
    write_checkpoint(tmp_path, {**shapes, averaged: shapes[name]})
    kernel_values = kernel(load(tmp_path, ImportOptions(image_size=32, moving_average=average)))
    expected = simple_weight(averaged if average else name, (7, 7, 3, 96))
    np.testing.assert_array_equal(kernel_values, expected)


def test_of_several_checkpoints_the_one_of_most_steps_is_taken(published):
    assert files.find(str(published)).stem.endswith("ckpt-250000")
    names = ["model.ckpt-90.index", "model.ckpt-1000.index", "model.ckpt-200.index"]
    assert files._newest(names) == "model.ckpt-1000"


@pytest.mark.parametrize("name", ["", INDEX, DATA, INDEX[:-6], "model-20170512-110547.meta"])
def test_a_checkpoint_is_named_by_its_folder_or_any_of_its_files(name, published):
    assert files.is_model(str(published / name))
    model = files.find(str(published / name) if name else str(published))
    assert [uri.rpartition("/")[2] for uri in model.uris] == [INDEX, DATA]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"squeezenet/conv10/biases": None}, r"1 of 106 variables.*missing: squeezenet/conv10/bia"),
        ({"squeezenet/extra/weights": [3]}, "no place in the network: squeezenet/extra/weights"),
        ({"squeezenet/conv1/BatchNorm/gamma": [96]}, "no place.*conv1/BatchNorm/gamma"),
        ({"squeezenet/conv1/weights": [3, 3, 3, 96]}, r"conv1/weights has the shape \[3, 3, 3, 96"),
        ({"squeezenet/Bottleneck/weights": None}, "Bottleneck/weights is missing"),
    ],
)
def test_every_variable_is_accounted_for(change, message, shapes, tmp_path):
    changed = {name: shape for name, shape in {**shapes, **change}.items() if shape is not None}
    with pytest.raises(ModelError, match=message):
        load(write_frozen(tmp_path / "model.pb", changed))


def test_another_network_is_named_by_its_scopes(tmp_path):
    write_frozen(tmp_path / "vgg.pb", {"vgg_16/conv1/weights": [3], "resnet/x/weights": [2]})
    with pytest.raises(ModelError, match=r"not one network that is known.*resnet, vgg_16"):
        load(tmp_path / "vgg.pb")


def test_weights_that_are_not_finite_are_refused(shapes, tmp_path):
    def broken(name, shape):
        return simple_weight(name, shape) * (np.nan if name.endswith("conv10/biases") else 1)

    with pytest.raises(ModelError, match="conv10/biases holds numbers that are not finite"):
        load(write_frozen(tmp_path / "model.pb", shapes, broken))


@pytest.mark.parametrize(
    ("name", "message"),
    [(DATA, "not whole: .*data-00000-of-00001 is missing"), (INDEX, "not whole: .*index is missi")],
)
def test_a_file_of_a_checkpoint_that_is_missing_is_named(name, message, copy):
    (copy / name).unlink()
    with pytest.raises(ModelError, match=message):
        load(copy)


def test_a_missing_shard_among_several_is_named(copy):
    (copy / DATA).rename(copy / DATA.replace("00000-of-00001", "00000-of-00002"))
    with pytest.raises(ModelError, match="data-00001-of-00002 is missing"):
        load(copy)


@pytest.mark.parametrize(
    ("name", "message"),
    [(DATA, "cannot be read|not the index"), (INDEX, "not the index of a checkpoint")],
)
def test_a_file_of_a_checkpoint_that_was_cut_short_is_an_error(name, message, copy):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match=message):
        load(copy)


def test_an_empty_file_is_an_error(copy):
    (copy / DATA).write_bytes(b"")
    with pytest.raises(ModelError, match="the file is empty"):
        load(copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest of it", "it is a zip archive"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "a page or an XML file"),
        (b"\x80\x04\x95 a pickle", "it is a pickle"),
        (b"\x0a\xff\xff\xff\xff\x07 cut", "cut short"),
    ],
)
def test_a_pb_that_is_something_else_is_named(content, message, tmp_path):
    (tmp_path / "model.pb").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load(tmp_path / "model.pb")


def test_a_frozen_graph_that_was_cut_short_is_an_error(shapes, tmp_path):
    data = write_frozen(tmp_path / "model.pb", shapes).read_bytes()
    (tmp_path / "model.pb").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="not a frozen TensorFlow graph"):
        load(tmp_path / "model.pb")


def test_a_graph_whose_variables_are_not_in_it_is_an_error(tmp_path):
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        zeros = tf.compat.v1.zeros_initializer()
        name, shape = "squeezenet/conv1/weights", [7, 7, 3, 96]
        tf.compat.v1.get_variable(name, shape, initializer=zeros, use_resource=False)
    (tmp_path / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(ModelError, match="variables are not frozen into it"):
        load(tmp_path / "model.pb")


@pytest.mark.parametrize(
    ("kind", "path", "fixed"),
    [
        ("frozen", "models/20170512-110547/20170512-110547.pb", False),
        ("archive", "models/20170511-185253.zip", False),
        ("checkpoint", "models/20180402-114759/model-20180402-114759.ckpt-275", True),
        ("frozen", "models/20180408-102900/20180408-102900.pb", True),
        ("checkpoint", "models/mine/model.ckpt-90000", False),
        ("torch", "20180402-114759-vggface2.pt", True),
        ("torch", "mine.pth", True),
        ("safetensors", "mine.safetensors", True),
        ("h5", "facenet_keras.h5", False),
        ("h5", "facenet512_weights.h5", True),
        ("h5", "20180408-102900-weights.h5", True),
    ],
)
def test_the_standardisation_is_that_of_the_published_models(kind, path, fixed):
    model = ModelFiles(kind, path, (path,))
    assert weights.expects_fixed(model, ImportOptions()) is fixed
    asked = ImportOptions(use_fixed_image_standardization=not fixed)
    assert weights.expects_fixed(model, asked) is not fixed


def test_an_imported_model_is_an_artifact_like_a_trained_one(published, original, root):
    options = ImportOptions(image_size=32, keep_classifier=True)
    plan = weights.plan_import(root, str(published), options)
    manifest = weights.import_model(plan, str(published), options, {})
    assert manifest.details["model_def"] == "squeezenet"
    assert set(manifest.details["imported_from"]["files"]) == {INDEX, DATA}
    embedder = FaceModel.load(plan.uri)
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(embedder.embed(crops), original.embed(crops))
    with np.load(f"{plan.uri}/{weights.CLASSIFIER_FILE}", allow_pickle=False) as remaining:
        assert (remaining["weights"].shape, remaining["biases"].shape) == ((8, 5), (5,))


def test_the_same_files_elsewhere_are_the_same_model(published, copy, root):
    here, there = (weights.plan_import(root, str(path), SMALL) for path in (published, copy))
    assert here.fingerprint == there.fingerprint


def test_a_model_in_object_storage_is_imported(published, original, bucket):
    for file in published.iterdir():
        storage.copy_file(file, f"{bucket}/models/{file.name}")
    np.testing.assert_array_equal(kernel(load(f"{bucket}/models")), kernel(original))


def test_a_stage_that_needs_an_artifact_gets_one(published, root):
    uri = import_model.bring_in(root, str(published), {})
    assert uri.endswith(import_model.load(str(published)).fingerprint)
    assert storage.read_manifest(uri).details["image_size"] == 160
    assert import_model.bring_in(root, str(published), {}) == uri
    assert import_model.bring_in(root, uri, {}) == uri


def test_nothing_there_is_an_error_that_says_what_was_expected(tmp_path):
    with pytest.raises(ModelError, match=r"no such file or folder; expected.*frozen graph"):
        import_model.load(str(tmp_path / "nothing"))


def test_the_command_prints_where_the_model_is(published, root, capsys):
    command = ["import", str(published), "--image-size", "32", "--storage", root]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "standardised: each image's own mean and deviation" in lines[1]
    assert storage.read_manifest(lines[-1]).details["embedding_size"] == 8


def test_the_command_says_what_is_wrong(copy, root, capsys):
    (copy / DATA).unlink()
    assert main(["import", str(copy), "--storage", root]) == 1
    assert "not whole" in capsys.readouterr().err


@pytest.mark.parametrize("extension", [*files.ONE_FILE, ".H5", ".Safetensors"])
def test_one_file_is_a_model_by_its_extension_in_either_case(extension, tmp_path):
    path = tmp_path / f"face.net{extension}"
    path.write_bytes(b"weights")
    assert files.is_model(str(path))
    assert files.is_model(str(tmp_path))
    assert files.find(str(tmp_path)).uris == (str(path),)
    assert weights.model_name(str(path)) == "face.net"
