"""Weights as `.h5`, `.pt` and `.safetensors`: every array in its place, and hostile files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from facenet_core.errors import ModelError
from facenet_core.models import import_model
from facenet_core.models.formats import files, state_dict, weights
from facenet_core.models.formats.variables import Variables
from tests.support import foreign_weights
from tests.support.foreign_weights import Called, dumps, tensor, write_h5, write_old, write_zip


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """The variables of an original's graph."""
    return foreign_weights.graph_arrays()


@pytest.fixture(scope="module")
def state(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same as facenet-pytorch has them."""
    return foreign_weights.of_graph(arrays)


def write(path: Path, form: str, arrays, state) -> Path:
    """The weights in a form, by its extension or name."""
    if form in ("whole.h5", "weights.h5"):
        return write_h5(path / form, arrays, whole=form == "whole.h5")
    if form == "state.safetensors":
        save_file({n: np.ascontiguousarray(a) for n, a in state.items()}, path / form)
    else:
        (path / form).write_bytes((write_old if form == "old.pth" else write_zip)(state))
    return path / form


def read(path: Path) -> dict[str, np.ndarray]:
    with weights.open_variables(files.find(str(path))) as variables:
        return {name: variables.read(name) for name in variables.shapes}


FORMS = ["whole.h5", "weights.h5", "new.pt", "old.pth", "state.safetensors"]


def test_a_state_dict_has_all_variables_of_the_original(arrays, shared):
    """Those that the forms below are made of, by name."""
    reference = shared / "reference" / "tf1_inception_resnet_v1_512_variables.json"
    assert arrays.keys() == json.loads(reference.read_text()).keys()


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_variables_of_the_originals_graph(form, arrays, state, tmp_path):
    values = read(write(tmp_path, form, arrays, state))
    assert values.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)


def test_the_factor_of_a_batch_norm_goes_into_kernel_and_mean(arrays, state, tmp_path):
    scale = np.linspace(0.5, 2, 4, dtype=np.float32)
    changed = {**state, "conv2d_1a.bn.weight": scale}
    (tmp_path / "model.pt").write_bytes(write_zip(changed))
    values = read(tmp_path / "model.pt")
    layer = "InceptionResnetV1/Conv2d_1a_3x3"
    for part in ("weights", "BatchNorm/moving_mean"):
        np.testing.assert_array_equal(values[f"{layer}/{part}"], arrays[f"{layer}/{part}"] * scale)


@pytest.mark.parametrize("write_state", [write_zip, write_old])
def test_prefixes_of_parallel_training_and_the_classifier_are_understood(
    write_state, arrays, state, tmp_path
):
    logits = {"logits.weight": np.ones((5, 4), np.float32), "logits.bias": np.ones(5, np.float32)}
    parallel = {f"module.{name}": array for name, array in {**state, **logits}.items()}
    (tmp_path / "model.pt").write_bytes(write_state(parallel))
    values = read(tmp_path / "model.pt")
    assert values.keys() - arrays.keys() == {"Logits/weights", "Logits/biases"}
    assert values["Logits/weights"].shape == (4, 5)


def test_half_precision_and_views_of_a_storage_are_read(tmp_path):
    from facenet_core.models.formats.torch_file import open_torch

    numbers = np.arange(24, dtype=np.float16).reshape(4, 6)
    whole = tensor("0", numbers)
    storage, _, _, _, *rest = whole.arguments
    view = Called(whole.name, storage, 1, (3, 4), (1, 6), *rest)
    pickled = dumps(OrderedDict(whole=whole, view=view))
    (tmp_path / "model.pt").write_bytes(write_zip({"whole": numbers}, pickled))
    with open_torch("model.pt", tmp_path / "model.pt") as variables:
        np.testing.assert_array_equal(variables.read("whole"), numbers.astype(np.float32))
        np.testing.assert_array_equal(variables.read("view"), numbers.T[1:4])


def test_a_tensor_that_is_missing_is_named_and_one_too_many_is_left_over(arrays, state):
    """What is left over, or of another shape, is an error for every form alike."""

    def translate(state):
        shapes = {name: array.shape for name, array in state.items()}
        return state_dict.translate(Variables("model.pt", shapes, state.__getitem__)).shapes

    with pytest.raises(ModelError, match=r"1 of .* tensors.*missing: last_bn\.running_var"):
        translate({n: a for n, a in state.items() if n != "last_bn.running_var"})
    larger = {"conv2d_1a.conv.weight": np.ones((4, 3, 5, 7)), "extra.weight": np.ones(3)}
    shapes = translate({**state, **larger})
    assert shapes.keys() - arrays.keys() == {"extra.weight"}
    assert shapes["InceptionResnetV1/Conv2d_1a_3x3/weights"] == (5, 7, 3, 4)


def test_a_state_dict_of_another_network_is_named_by_what_it_has(tmp_path):
    other = {"fc.weight": np.ones((2, 2), np.float32)}
    (tmp_path / "resnet.pt").write_bytes(write_zip(other))
    with pytest.raises(ModelError, match=r"InceptionResnetV1 are missing.*it has fc\.weight"):
        import_model.load(str(tmp_path / "resnet.pt"))


def test_an_h5_of_another_network_is_an_error(tmp_path):
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file["conv1/conv1/kernel:0"] = np.ones((3, 3, 3, 8), np.float32)
    with pytest.raises(ModelError, match="Bottleneck/weights is missing"):
        import_model.load(str(tmp_path / "vgg.h5"))


def _external(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = np.ones(3)
    file["Bottleneck"] = h5py.ExternalLink(str(folder / "other.h5"), "/secret")


def _soft(file: h5py.File, folder: Path) -> None:
    file["Bottleneck"] = h5py.SoftLink("/nowhere")


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "secret", (3,))
    file.create_virtual_dataset("Bottleneck/kernel:0", layout)


def _raw_file(file: h5py.File, folder: Path) -> None:
    (folder / "secret").write_bytes(b"x" * 12)
    external = [(str(folder / "secret"), 0, 12)]
    file.create_dataset("Bottleneck/kernel:0", (3,), "f4", external=external)


def _bomb(file: h5py.File, folder: Path) -> None:
    file.create_dataset("Bottleneck/kernel:0", (2**40,), "f4", chunks=(2**20,), compression="gzip")


def _text(file: h5py.File, folder: Path) -> None:
    file["Bottleneck/kernel:0"] = ["text"]


def _of_any_length(file: h5py.File, folder: Path) -> None:
    rows = file.create_dataset("Bottleneck/kernel:0", (4,), h5py.vlen_dtype("f4"))
    rows[:] = [np.ones(9, np.float32)] * 4


def _circle(file: h5py.File, folder: Path) -> None:
    group = file.create_group("Bottleneck")
    group["again"] = group


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_external, "Bottleneck is a link"),
        (_soft, "Bottleneck is a link"),
        (_virtual, "lies in another file"),
        (_raw_file, "lies in another file"),
        (_bomb, "far more than the file holds"),
        (_circle, "inside itself"),
        (_text, "Bottleneck"),
        (_of_any_length, "holds no numbers"),
    ],
)
def test_a_hostile_h5_is_refused(make, message, tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        make(file, tmp_path)
    with pytest.raises(ModelError, match=message):
        import_model.load(str(tmp_path / "model.h5"))


def _calls(name: str, *arguments: object) -> bytes:
    return dumps(OrderedDict(weight=Called(name, *arguments)))


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (_calls("os.system", "touch ran"), r"wants to call os\.system"),
        (_calls("builtins.eval", "open('ran', 'w')"), r"wants to call builtins\.eval"),
        (_calls("facenet_pytorch.models.InceptionResnetV1"), "state_dict"),
        (_calls("torch._utils._rebuild_tensor_v2", 1, 0, (2,), (1,)), "something else than a stor"),
        (dumps([1, 2]), "holds a list"),
        (dumps({"weight": 3}), "has a int as 'weight'"),
        (dumps({((),): 3}), "has a tuple as a key"),
        (dumps(Called("collections.OrderedDict", [((), 1)])), "a state dict"),
        (
            b"\x80\x02ccollections\nOrderedDict\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
            "sets the state",
        ),
        (b"\x80\x02" + b"cos\nsystem\n" + b"X\x04\x00\x00\x00echo\x85R.", "wants to call"),
        (b"\x80\x02}", "not a state dict"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("write_state", [write_zip, write_old])
def test_a_pickle_that_would_run_code_runs_none(
    write_state, pickled, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("model.pt").write_bytes(write_state({}, pickled))
    with pytest.raises(ModelError, match=message):
        import_model.load("model.pt")
    assert not Path("ran").exists()


def test_storages_are_named_by_texts(tmp_path):
    content = write_old({"weight": np.ones(2, np.float32)})
    keys = content.rindex(b"\x80\x02]")
    (tmp_path / "model.pt").write_bytes(content[:keys] + dumps([()]) + bytes(16))
    with pytest.raises(ModelError, match="names a storage by a tuple"):
        import_model.load(str(tmp_path / "model.pt"))


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    made = tensor("0", np.ones(2, np.float32))
    storage, _, _, _, *rest = made.arguments
    for shape, strides in [((3,), (1,)), ((2**30, 2**9), (0, 0)), ((2,), (-1,)), ((2,), (2,))]:
        large = Called(made.name, storage, 0, shape, strides, *rest)
        pickled = dumps(OrderedDict(weight=large))
        (tmp_path / "model.pt").write_bytes(write_zip({"w": np.ones(2, np.float32)}, pickled))
        with pytest.raises(ModelError, match=r"larger than its storage|impossible size"):
            import_model.load(str(tmp_path / "model.pt"))


def test_a_packed_storage_is_refused(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x00" * 2**20)
    (tmp_path / "model.pt").write_bytes(stream.getvalue())
    with pytest.raises(ModelError, match=r"packed data\.pkl"):
        import_model.load(str(tmp_path / "model.pt"))


@pytest.mark.parametrize(
    "content",
    [
        (2**31).to_bytes(8, "little") + b'{"a"',
        b"\x40" + bytes(7) + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99999999]}}',
        b"<!DOCTYPE html>",
    ],
    ids=["header of 2 GB", "beyond the file", "a page"],
)
def test_a_safetensors_header_that_lies_is_refused(content, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="not a safetensors file"):
        import_model.load(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("name", ["model.h5", "model.pt", "model.pth", "model.zip"])
@pytest.mark.parametrize("content", [b"<!DOCTYPE html>Quota exceeded", b"\x89HDF\r\n\x1a\n cut"])
def test_a_file_of_another_kind_than_its_name_says_is_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        import_model.load(str(tmp_path / name))


@pytest.mark.slow
def test_the_real_model_gives_the_same_embeddings_in_every_form(shared, tmp_path):
    """Within 1e-5 of those of the TensorFlow 1 folder, on photographs of noise and of colours."""
    command = [sys.executable, str(shared / "models" / "tf1_folder.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    h5 = shared / "models" / "facenet_keras.h5"
    arrays = read(h5)
    state = foreign_weights.of_graph(arrays)
    forms = [write(tmp_path, form, arrays, state) for form in ("new.pt", "state.safetensors")]
    crops = np.random.default_rng(0).integers(0, 256, (4, 160, 160, 3), np.uint8)
    crops[2:] = crops[2:, :1, :1]
    expected = import_model.load(str(tmp_path / "20170512-110547")).embed(crops)
    options = weights.ImportOptions(use_fixed_image_standardization=False)
    for path in (h5, *forms):
        values = weights.load_model(str(path), options).embed(crops)
        np.testing.assert_allclose(values, expected, atol=1e-5, rtol=0, err_msg=path.name)
