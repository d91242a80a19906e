"""ONNX networks from elsewhere become models; hostile files are refused before anything runs."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from facenet_core import storage
from facenet_core.errors import ArtifactError, ConfigError, ModelError
from facenet_core.models import import_model
from facenet_core.models.face_model import FaceModel
from facenet_core.models.formats.onnx import OnnxOptions, plan_import
from facenet_core.models.formats.onnx import import_model as import_onnx
from facenet_core.models.runtimes import open_runtime
from flows.cli.main import main
from tests.support.onnx_models import DIMENSIONS, SIDE, arcface, linear, reference, save

ENGINES = ["openvino", "onnxruntime"]
RAW = OnnxOptions(mean=(0, 0, 0), deviation=(1, 1, 1))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def bring_in(tmp_path):
    """Writes a network, imports it, and returns the artifact's URI."""

    def write_and_import(model, options=RAW):
        file = save(model, tmp_path / "network.onnx") if not isinstance(model, str) else model
        plan = plan_import(str(tmp_path / "store"), file, options)
        import_onnx(plan, file, options, {})
        return plan.uri

    return write_and_import


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"layout": "NHWC"},
        {"batch": 1},
        {"batch": 3},
        {"layout": "NHWC", "dtype": TensorProto.UINT8},
        {"trailing": True},
    ],
    ids=str,
)
def test_layout_batch_and_type_are_read_from_the_graph(bring_in, images, engine, shape):
    runtime = open_runtime(FaceModel.load(bring_in(linear(**shape))), engine, precision="float32")
    np.testing.assert_allclose(runtime(images), reference(images.astype(np.float32)), atol=1e-5)
    assert runtime.engine == engine
    assert runtime(images[:0]).shape == (0, DIMENSIONS)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("options", "standardize"),
    [
        (OnnxOptions("arcface"), lambda x: (x - 127.5) / 127.5),
        (OnnxOptions("arcface", color="BGR"), lambda x: (x[..., ::-1] - 127.5) / 127.5),
        (OnnxOptions("facenet"), lambda x: (x - 127.5) / 128),
        (
            OnnxOptions("facenet-2017"),
            lambda x: (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True),
        ),
        (
            OnnxOptions(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375)),
            lambda x: (x - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375],
        ),
    ],
    ids=["arcface", "BGR", "facenet", "facenet-2017", "by channel"],
)
def test_pixels_are_standardised_as_stated(bring_in, images, engine, options, standardize):
    runtime = open_runtime(FaceModel.load(bring_in(linear(), options)), engine, precision="float32")
    expected = reference(standardize(images.astype(np.float64)).astype(np.float32))
    np.testing.assert_allclose(runtime(images), expected, atol=1e-5)


@pytest.mark.parametrize("batch", [1, "n"])
def test_an_arcface_network_becomes_a_model_with_its_crops(bring_in, batch):
    uri = bring_in(arcface(batch), OnnxOptions("arcface"))
    details = storage.open_artifact(uri, "train").details
    assert (details["image_size"], details["embedding_size"]) == (112, 512)
    assert details["alignment"] == {"image_size": 112, "crop": "similarity"}
    assert details["imported_from"]["kind"] == "onnx"
    model = import_model.load(uri)
    crops = np.random.default_rng(2).integers(0, 256, (3, 112, 112, 3), np.uint8)
    by_engine = [open_runtime(model, engine, precision="float32")(crops) for engine in ENGINES]
    np.testing.assert_allclose(by_engine[0], by_engine[1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(by_engine[0], axis=1), 1, atol=1e-6)
    with pytest.raises(ModelError, match="an ONNX network, which cannot be trained or exported"):
        _ = model.network
    with pytest.raises(ConfigError, match="keras runs no ONNX networks"):
        open_runtime(model, "keras")


def test_external_data_from_beside_the_file_become_part_of_the_model(bring_in, tmp_path, images):
    (tmp_path / "there").mkdir()
    file = str(tmp_path / "there/network.onnx")
    onnx.save(linear(), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "there/weights.bin").exists()
    uri = bring_in(file)
    (tmp_path / "there/weights.bin").unlink()
    runtime = open_runtime(FaceModel.load(uri), precision="float32")
    np.testing.assert_allclose(runtime(images), reference(images.astype(np.float32)), atol=1e-5)
    with pytest.raises(ModelError, match=r"its values are in weights\.bin, which is not there"):
        bring_in(file)


def test_other_external_data_make_another_model(tmp_path):
    fingerprints = set()
    for number in range(2):
        file = str(tmp_path / "network.onnx")
        model = linear()
        weights = onnx.numpy_helper.to_array(model.graph.initializer[0]) + number
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "weights"))
        onnx.save(model, file, save_as_external_data=True, location="w.bin", size_threshold=0)
        fingerprints.add(plan_import("", file, RAW).fingerprint)
    assert len(fingerprints) == 2


def external(location, **entries):
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


def with_custom_operator():
    model = linear()
    model.graph.node[0].domain = "com.stranger"
    model.opset_import.add(domain="com.stranger", version=1)
    return model


def hidden_in_a_branch(what):
    """A graph that does something only within a branch of a condition."""
    model = linear()
    branch = what.graph
    branch.ClearField("input")
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["other"], then_branch=branch, else_branch=branch)
    )
    return model


def external_in_a_function(location):
    """External data as the default of a function's attribute."""
    model = linear()
    function = model.functions.add(name="f", domain="local")
    default = external(location).graph.initializer[0]
    function.attribute_proto.append(helper.make_attribute("value", default))
    return model


def with_second(kind):
    model = linear()
    values = getattr(model.graph, kind)
    values.add().CopyFrom(values[0])
    values[1].name = "second"
    return model


def claiming(dims):
    model = linear()
    model.graph.initializer[0].dims[:] = dims
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"", "not an ONNX file"),
        (b"\x89PNG and so on", "not an ONNX file"),
        (b"PK\x03\x04" * 40, "not an ONNX file"),
        (linear().SerializeToString()[:-200], "cut short"),
        (external("w.bin").SerializeToString().replace(b"w.bin", b"\xff.bin"), "is not UTF-8"),
        (external("../secret.bin"), r"outside its folder, which is not read"),
        (external("/etc/passwd"), r"outside its folder, which is not read"),
        (external("link/secret.bin"), r"outside its folder, which is not read"),
        (external("a/../../secret.bin"), r"outside its folder, which is not read"),
        (external(""), r"outside its folder, which is not read"),
        (external("weights\0.bin"), r"outside its folder, which is not read"),
        (external_in_a_function("../secret.bin"), r"outside its folder, which is not read"),
        (hidden_in_a_branch(external("../secret.bin")), r"outside its folder"),
        (external("gone.bin"), "gone.bin, which is not there"),
        (external("short.bin", offset=0, length=10**6), "not all in short.bin"),
        (external("short.bin", offset=-4), "not all in short.bin"),
        (external("short.bin", offset="x"), "not all in short.bin"),
        (with_custom_operator(), "operators of com.stranger"),
        (hidden_in_a_branch(with_custom_operator()), "operators of com.stranger"),
        (with_second("input"), r"2 inputs \(data, second\); expected one"),
        (with_second("output"), r"2 outputs \(fc1, second\); expected one"),
        (linear(side="s"), "takes images of any size; say which: --image-size"),
        (linear(dtype=TensorProto.INT64), "neither float32 nor uint8"),
        (claiming([10**6, 10**6, 3, 3]), "claims the shape .* damaged, or made to fill the memory"),
        (claiming([-1, 3, SIDE, SIDE]), "claims the shape"),
        (claiming([DIMENSIONS + 1, 3, SIDE, SIDE]), "cannot run it"),
        (linear(batch=10**6), "takes 1000000 images at a time"),
        (linear(side=8), r"takes images of \[8, 8\] pixels; expected squares"),
        (linear(layout="NHWC", side=3), r"expected images \[n, 3, s, s\] or \[n, s, s, 3\]"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_hostile_or_unsuitable_file_is_a_clear_error(tmp_path, bring_in, model, message):
    (tmp_path / "secret.bin").write_bytes(bytes(DIMENSIONS * 3 * SIDE * SIDE * 4))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "short.bin").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path)
    (folder / "a").mkdir()
    file = folder / "network.onnx"
    file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(ModelError, match=message):
        bring_in(str(file))
    assert not list((tmp_path / "store").rglob("*.*"))


def test_images_of_any_size_take_one_from_the_options(bring_in, images):
    options = OnnxOptions(mean=(0, 0, 0), deviation=(1, 1, 1), image_size=SIDE)
    runtime = open_runtime(FaceModel.load(bring_in(linear(side="s"), options)), "onnxruntime")
    np.testing.assert_allclose(runtime(images), reference(images.astype(np.float32)), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "insightface"}, "preset: 'insightface'; expected one of arcface, facenet"),
        ({"mean": (1, 1, 1)}, "give both or none"),
        ({"mean": (1, 1, 1), "deviation": (0, 1, 1)}, "none of 0"),
        ({"mean": (float("nan"), 1, 1), "deviation": (1, 1, 1)}, "expected numbers"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        OnnxOptions(**options)


def test_a_network_of_floats_needs_to_be_told_how_pixels_are_standardised(bring_in, tmp_path):
    with pytest.raises(ModelError, match="--preset arcface"):
        bring_in(linear(), OnnxOptions())
    with pytest.raises(ModelError, match="--preset arcface"):
        import_model.load(save(linear(), tmp_path / "bare.onnx"))


def test_a_network_that_gives_no_numbers_is_refused(bring_in):
    model = linear()
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]) * np.float32(np.inf)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "weights"))
    with pytest.raises(ModelError, match="not finite for random images"):
        bring_in(model)


@pytest.mark.parametrize("missing", ["onnx", "runtimes"])
def test_without_what_runs_onnx_one_message_names_the_extra(monkeypatch, tmp_path, missing):
    from facenet_core import extras
    from facenet_core.models import runtimes
    from facenet_core.models.formats import onnx_file

    file = save(linear(dtype=TensorProto.UINT8), tmp_path / "network.onnx")
    module = onnx_file if missing == "onnx" else runtimes
    monkeypatch.setattr(module, "installed", lambda package: False)
    with pytest.raises(extras.MissingPackage, match=r"facenet-pipeline\[use\]"):
        open_runtime(import_model.load(file))


def test_a_bare_file_that_takes_pixels_needs_no_options(tmp_path, images, root):
    model = linear(layout="NHWC", dtype=TensorProto.UINT8)
    crops = {"crop_size": SIDE + 8, "crop_margin": 10, "crop_rule": "original"}
    helper.set_model_props(model, {key: str(value) for key, value in crops.items()})
    file = save(model, tmp_path / "network.onnx")
    bare, uri = import_model.load(file), import_model.bring_in(root, file, {})
    assert import_model.fingerprint_of(file) == bare.fingerprint == FaceModel.load(uri).fingerprint
    np.testing.assert_allclose(
        open_runtime(bare)(images), open_runtime(FaceModel.load(uri))(images), atol=1e-6
    )
    alignment = storage.open_artifact(uri, "train").details["alignment"]
    assert alignment == {"image_size": SIDE + 8, "margin": 10, "crop": "original"}
    assert import_model.artifact_of(f"{uri}/model.onnx") == uri


def test_a_manifest_without_standardisation_is_an_error(bring_in):
    uri = bring_in(linear())
    manifest = json.loads(storage.read_bytes(f"{uri}/manifest.json"))
    del manifest["details"]["standardization"]["mean"]
    storage.write_bytes(f"{uri}/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(ArtifactError, match="does not say 'mean'"):
        FaceModel.load(uri)


def test_the_command_imports_an_arcface_network(tmp_path, root, capsys):
    file = save(arcface(), tmp_path / "w600k.ONNX")
    assert main(["import", file, "--storage", root]) == 1
    assert "import it with --preset arcface" in capsys.readouterr().err
    assert main(["import", file, "--preset", "arcface", "--margin", "0", "--storage", root]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "onnx: 150,400 values, embeddings of 512 dimensions"
    assert lines[1] == "It takes crops of 112 pixels, standardised: (x − 127.5)/127.5"
    assert storage.open_artifact(lines[-1], "train").name == "w600k"
    command = ["import", file, "--mean", "1,2,3", "--deviation", "4", "--color", "BGR"]
    assert main([*command, "--storage", root]) == 0
    assert "(x − (1, 2, 3))/4, BGR" in capsys.readouterr().out
