"""A `.keras` file on OpenVINO, built without Keras, embeds as Keras does."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from facenet_core.errors import ModelError
from facenet_core.imaging.decode import decode_photograph
from facenet_core.models.face_model import FaceModel
from facenet_core.models.formats import weights
from facenet_core.models.networks import registry
from facenet_core.models.preprocessing import standardize
from facenet_core.models.runtimes import keras_graph, open_runtime
from facenet_core.models.standardization import FIXED, PER_IMAGE, PIXELS, Standardization
from tests.support.small_network import small_network

pytest.importorskip("openvino")
SIZE = 80


def mosaics(count: int, size: int = SIZE) -> np.ndarray:
    """Images [count, size, size, 3] uint8 of 4 × 4 colours, which differ from one another."""
    colours = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return colours.repeat(size // 4, axis=1).repeat(size // 4, axis=2)


NETWORKS = [
    "squeezenet",
    "inception_resnet_v1",
    pytest.param("inception_resnet_v2", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> keras.Model:
    """A network whose batch norm was trained on one batch: its embeddings differ."""
    network = registry.build(
        request.param,
        image_size=SIZE,
        embedding_size=128,
        keep_probability=0.8,
        weight_decay=1e-4,
        batch_norm_decay=0.0,
    )
    network(standardize(mosaics(24), fixed=True), training=True)
    return network


@pytest.mark.parametrize(("standardization", "exported"), [(FIXED, False), (PER_IMAGE, True)])
def test_embeddings_are_those_of_keras(
    network: keras.Model, standardization: Standardization, exported: bool, tmp_path: Path
) -> None:
    model = FaceModel.from_network(network, standardization)
    if exported:
        model.pixels_to_embeddings.save(tmp_path / "model.keras")
        model_in_file = from_file(tmp_path / "model.keras", model, PIXELS)
    else:
        network.save(tmp_path / "model.keras")
        model_in_file = from_file(tmp_path / "model.keras", model, standardization)
    crops = mosaics(6)
    embeddings = open_runtime(model_in_file, "openvino", precision="float32")(crops)
    expected = model.embed(crops)
    assert np.linalg.norm(expected[0] - expected[1:], axis=1).min() > 0.1
    np.testing.assert_allclose(embeddings, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_published_model_embeds_as_on_keras(shared: Path, tmp_path: Path) -> None:
    script = shared / "models" / "tf1_folder.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    model = weights.load_model(str(tmp_path / "20170512-110547"))
    model.network.save(tmp_path / "model.keras")
    photographs = sorted((shared / "data" / "lfw-originals").glob("*/*.jpg"))[:20]
    crops = np.stack([decode_photograph(file.read_bytes()).pixels for file in photographs])
    model_in_file = from_file(tmp_path / "model.keras", model, model.standardization)
    embeddings = open_runtime(model_in_file, "openvino", precision="float32")(crops)
    np.testing.assert_allclose(embeddings, model.embed(crops), rtol=0, atol=1e-5)


def test_a_network_in_memory_runs_on_openvino(small: FaceModel) -> None:
    runtime = open_runtime(small, precision="float32")
    assert runtime.engine == "openvino"
    np.testing.assert_allclose(runtime(mosaics(3, 32)), small.embed(mosaics(3, 32)), atol=1e-5)


def test_an_unknown_layer_is_left_to_keras(tmp_path: Path) -> None:
    images = keras.Input((32, 32, 3))
    x = keras.layers.Flatten()(keras.layers.DepthwiseConv2D(3)(images))
    model = FaceModel.from_network(keras.Model(images, keras.layers.Dense(4)(x)), FIXED, "own")
    with pytest.raises(keras_graph.Unsupported, match=r"DepthwiseConv2D.*only Keras runs it"):
        open_runtime(model, "openvino")
    assert open_runtime(model).engine == "keras"


@pytest.fixture(scope="module")
def small() -> FaceModel:
    return FaceModel.from_network(small_network(32), FIXED, "small")


@pytest.fixture
def file(small: FaceModel, tmp_path: Path) -> Path:
    """The small network in a file."""
    small.network.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


KERNEL = "layers/conv2d/vars/0"


def replace_kernel(**settings: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, **settings)

    return change


def remove_kernel(file: h5py.File) -> None:
    del file[KERNEL]


def link_kernel(file: h5py.File) -> None:
    del file[KERNEL]
    file[KERNEL] = h5py.ExternalLink("other.h5", "kernel")


def spoil_kernel(file: h5py.File) -> None:
    file[KERNEL][0, 0, 0, 0] = np.inf


def store_kernel_outside(file: h5py.File) -> None:
    del file[KERNEL]
    outside = [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset(KERNEL, (3, 3, 3, 8), "f4", external=outside)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_kernel, f"no {KERNEL}; it is damaged"),
        (replace_kernel(data=np.zeros((3, 3, 3, 9), "f4")), r"expected weights of the shape \["),
        (replace_kernel(shape=(3, 3, 3, 2**40), dtype="f4", chunks=True), "weights of the shape"),
        (replace_kernel(data=np.zeros((3, 3, 3, 8), "i4")), "numbers that lie in the file itself"),
        (store_kernel_outside, "numbers that lie in the file itself"),
        (link_kernel, f"no {KERNEL}; it is damaged"),
        (spoil_kernel, "1 of 14 weights are not finite"),
    ],
)
def test_weights_that_are_damaged_or_elsewhere_are_refused(
    change: Callable[[h5py.File], None], message: str, file: Path, small: FaceModel
) -> None:
    rewrite(file, change)
    with pytest.raises(ModelError, match=message):
        open_runtime(from_file(file, small, FIXED), "openvino")


def test_more_weights_than_the_file_can_hold_are_refused_unread(
    file: Path, small: FaceModel
) -> None:
    rewrite(file, lambda weights: None, ('"filters": 8', '"filters": 8000000000'))
    with pytest.raises(ModelError, match="asks for 216,000,000,000 weights"):
        open_runtime(from_file(file, small, FIXED), "openvino")


@pytest.mark.parametrize(
    "replaced",
    [
        ('"class_name": "Conv2D"', '"class_name": "Lambda"'),
        ('"module": "keras.layers"', '"module": "os"'),
        ('"class_name": "Functional"', '"class_name": "Sequential"'),
        ('"padding": "valid"', '"padding": "causal"'),
        ('"name": "float32"', '"name": "mixed_float16"'),
        ('"layers": [', '"layers": 5, "others": ['),
    ],
)
def test_a_configuration_of_another_kind_is_no_network_of_ours(
    replaced: tuple[str, str], file: Path, small: FaceModel
) -> None:
    rewrite(file, lambda weights: None, replaced)
    with pytest.raises(keras_graph.Unsupported, match="only Keras runs it"):
        open_runtime(from_file(file, small, FIXED), "openvino")


def rewrite(
    file: Path, change: Callable[[h5py.File], None], replaced: tuple[str, str] = ("", "")
) -> None:
    """Change the weights in a `.keras` file, and a text of its configuration."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = file.with_suffix(".h5")
    weights.write_bytes(members["model.weights.h5"])
    with h5py.File(weights, "r+") as opened:
        change(opened)
    members["model.weights.h5"] = weights.read_bytes()
    config = members["config.json"].decode()
    assert replaced[0] in config
    members["config.json"] = config.replace(*replaced).encode() if replaced[0] else config.encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def from_file(path: Path, model: FaceModel, standardization: Standardization) -> FaceModel:
    """The model of a file, whose network is not to be loaded."""

    def refuse() -> keras.Model:
        raise AssertionError("loaded by Keras")

    return FaceModel(
        model.name,
        model.fingerprint,
        model.image_size,
        model.embedding_size,
        standardization,
        refuse,
        str(path),
    )
