"""Models and checkpoints, which engines in C++ read behind our doors."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from facenet_core.errors import ModelError
from facenet_core.models.formats import keras_file
from facenet_core.models.formats.variables import Variables

from ..mutations import mutated
from ..target import Target


def _network() -> object:
    import keras

    images = keras.Input((8, 8, 3), name="images")
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(images)
    return keras.Model(images, keras.layers.Dense(4, name="Bottleneck")(pooled))


@cache
def keras_files() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        _network().save(path)  # type: ignore[attr-defined]
        return [path.read_bytes()]


def damaged_inside(data: bytes, random: Random) -> bytes:
    """One member of the archive damaged, the archive itself whole; half of the time."""
    if random.random() < 0.3:
        return data
    (whole,) = keras_files()
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(stream, "w") as out:
        names = source.namelist()
        selected = random.choice(names)
        for name in names:
            content = source.read(name)
            if name == selected == "config.json" and random.random() < 0.6:
                content = random.choice((_calling, _oversized))(content, random)
            elif name == selected:
                content = mutated([content], random, text=name.endswith(".json"))
            out.writestr(name, content)
    return stream.getvalue()


def _calling(config: bytes, random: Random) -> bytes:
    """A configuration that names other objects than layers."""
    values = json.loads(config)
    layer = random.choice(values["config"]["layers"])
    layer["module"], layer["class_name"] = random.choice(
        [
            ("os", "system"),
            ("builtins", "eval"),
            ("subprocess", "Popen"),
            ("keras.layers", "Lambda"),
            ("keras.layers", "TorchModuleWrapper"),
            ("keras.src.utils", "get_file"),
            (None, "Dense"),
        ]
    )
    layer["config"] = random.choice(
        [{"function": {"class_name": "__lambda__"}}, {}, layer["config"]]
    )
    return json.dumps(values).encode()


def _oversized(config: bytes, random: Random) -> bytes:
    """A configuration whose network has no room anywhere."""
    values = json.loads(config)
    layer = random.choice(values["config"]["layers"])
    sizes = [10**6, 10**9, 2**31, 2**63, -1, 0, 1e30, [10**9], None]
    names = ("units", "batch_shape", "rate", "filters")
    for name in names if random.random() < 0.2 else [n for n in names if n in layer["config"]]:
        layer["config"][name] = random.choice(sizes)
        if name == "batch_shape":
            layer["config"][name] = [None, *random.choices((1, 8, 10**6, 10**9), k=3)]
    return json.dumps(values).encode()


def check_keras(data: bytes, folder: Path) -> None:
    """What is looked at before Keras sees the file."""
    (folder / "model.keras").write_bytes(data)
    keras_file.check(folder / "model.keras", "model.keras")


def read_keras(data: bytes, folder: Path) -> None:
    from facenet_core.models.face_model import load_network

    (folder / "model.keras").write_bytes(data)
    load_network(str(folder / "model.keras"))


def checkpoints() -> list[bytes]:
    stream = io.BytesIO()
    record = np.frombuffer(b'{"seed": 0}', np.uint8)
    np.savez(stream, np.zeros((3, 4), np.float32), record=record, **{"extra-rows": np.arange(3)})
    return [stream.getvalue()]


def read_checkpoint(data: bytes, folder: Path) -> None:
    """Whatever is no whole checkpoint is passed over."""
    import keras

    from facenet_core.training.checkpoints import newest

    path = folder / "attempts" / "run" / "checkpoints" / "step-000000001.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    newest(str(folder), [keras.Variable(np.zeros((3, 4), np.float32))])


@cache
def frozen_graphs() -> list[bytes]:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        for name in ("squeezenet/conv1/weights", "squeezenet/conv1/biases"):
            tf.constant(np.ones((3, 2), np.float32), name=name)
    return [graph.as_graph_def().SerializeToString()]


def _read_all(variables: Variables) -> None:
    for name in variables.shapes:
        with suppress(ModelError):
            variables.read(name)


def _read_weights(place: Path) -> None:
    from facenet_core.models.formats import files
    from facenet_core.models.formats.weights import open_variables

    with open_variables(files.find(str(place))) as variables:
        _read_all(variables)


def read_frozen(data: bytes, folder: Path) -> None:
    (folder / "graph.pb").write_bytes(data)
    _read_weights(folder / "graph.pb")


@cache
def _checkpoint() -> dict[str, bytes]:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.ckpt-1")
        tf.raw_ops.SaveV2(
            prefix=path,
            tensor_names=["a/weights", "b/weights"],
            shape_and_slices=["", ""],
            tensors=[np.ones((3, 2), np.float32), np.arange(4, dtype=np.float32)],
        )
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def _indexes() -> list[bytes]:
    return [_checkpoint()["model.ckpt-1.index"]]


def read_index(data: bytes, folder: Path) -> None:
    """The table of a checkpoint, beside data that are whole."""
    for name, content in _checkpoint().items():
        (folder / name).write_bytes(data if name.endswith(".index") else content)
    _read_weights(folder)


def _weights() -> dict[str, np.ndarray]:
    """Two layers, one of which has a name that Keras and PyTorch models share with nobody."""
    return {"layer/kernel:0": np.ones((3, 2), np.float32), "layer/bias:0": np.ones(2, np.float32)}


@cache
def h5_files() -> list[bytes]:
    import h5py

    files = []
    for root in ("", "model_weights/"):
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            for name, array in _weights().items():
                file[f"{root}{name}"] = array
            packed = {"data": np.ones((64, 64)), "chunks": (8, 8), "compression": "gzip"}
            file.create_dataset(f"{root}packed/kernel:0", **packed)
            file.attrs["model_config"] = '{"class_name": "Lambda"}'
        files.append(stream.getvalue())
    return files


def read_h5(data: bytes, folder: Path) -> None:
    (folder / "model.h5").write_bytes(data)
    _read_weights(folder / "model.h5")


# Pickles of a state dict with one tensor of six values, as PyTorch writes them: protocol 2.
_TENSOR = (
    b"\x80\x02ccollections\nOrderedDict\n)RX\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
    b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06"
)
_REST = b"QK\x00K\x03K\x02\x86K\x02K\x01\x86\x89ccollections\nOrderedDict\n)RtRs."


@cache
def torch_files() -> list[bytes]:
    values = np.arange(6, dtype=np.float32).tobytes()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", _TENSOR + b"t" + _REST)
        archive.writestr("archive/data/0", values)
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    system = b"\x80\x02}X\r\x00\x00\x00little_endian\x88s."
    keys = b"\x80\x02]X\x01\x00\x00\x000a." + (6).to_bytes(8, "little")
    return [stream.getvalue(), magic + system + _TENSOR + b"Nt" + _REST + keys + values]


def read_torch(data: bytes, folder: Path) -> None:
    """The tensors, before any network asks for those that it needs."""
    from facenet_core.models.formats.torch_file import open_torch

    (folder / "model.pt").write_bytes(data)
    with open_torch("model.pt", folder / "model.pt") as variables:
        _read_all(variables)


@cache
def safetensors_files() -> list[bytes]:
    from safetensors.numpy import save

    return [save(_weights())]


def read_safetensors(data: bytes, folder: Path) -> None:
    from facenet_core.models.formats.state_dict import open_safetensors

    (folder / "model.safetensors").write_bytes(data)
    with open_safetensors("model.safetensors", folder / "model.safetensors") as variables:
        _read_all(variables)


def _archives() -> list[bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _checkpoint().items():
            archive.writestr(f"model/{name}", content)
    return [stream.getvalue()]


def read_archive(data: bytes, folder: Path) -> None:
    (folder / "model.zip").write_bytes(data)
    _read_weights(folder / "model.zip")


@cache
def onnx_files() -> list[bytes]:
    """A network of one convolution: its weights in the file, and beside it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.ones((4, 3, 16, 16), np.float32)
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Conv", ["images", "weights"], ["pixels"]),
                helper.make_node("Flatten", ["pixels"], ["embeddings"]),
            ],
            "network",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 16, 16])],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", 4])],
            [numpy_helper.from_array(weights, "weights")],
        )
    )
    apart = onnx.ModelProto()
    apart.CopyFrom(model)
    (tensor,) = apart.graph.initializer
    onnx.external_data_helper.set_external_data(tensor, _ONNX_DATA)
    tensor.ClearField("raw_data")
    return [model.SerializeToString(), apart.SerializeToString()]


_ONNX_DATA = "weights.bin"


def changed_graph(data: bytes, random: Random) -> bytes:
    """A whole file that asks for too much, or for what is elsewhere; half of the time."""
    if random.random() < 0.5:
        return data
    import onnx

    model = onnx.load_model_from_string(random.choice(onnx_files()))
    graph, (tensor,) = model.graph, model.graph.initializer
    node = random.choice(graph.node)
    sizes = (0, 1, -1, 8, 2**31, 2**62)
    for _ in range(random.randint(1, 3)):
        match random.randrange(7):
            case 0:
                tensor.dims[random.randrange(len(tensor.dims))] = random.choice(sizes)
            case 1:
                for entry in tensor.external_data:
                    entry.value = random.choice(["../secret", "/etc/passwd", "a\0b", "", "."])
            case 2:
                for key in ("offset", "length"):
                    value = str(random.choice((*sizes, "x", 2**70)))
                    tensor.external_data.add(key=key, value=value)
            case 3:
                node.domain, node.op_type = random.choice([("evil", "Run"), ("", "Nothing")])
            case 4:
                value = random.choice([*graph.input, *graph.output])
                shape = value.type.tensor_type.shape.dim
                shape.add(dim_value=random.choice(sizes))
            case 5:
                graph.input.append(random.choice([*graph.input, *graph.output]))
            case 6:
                del graph.output[:]
    return model.SerializeToString()


def read_onnx(data: bytes, folder: Path) -> None:
    """What is read and looked at before a runtime gets the file."""
    from facenet_core.models.formats.onnx_file import fetched

    (folder / _ONNX_DATA).write_bytes(bytes(4 * 4 * 3 * 16 * 16))
    (folder / "model.onnx").write_bytes(data)
    with fetched(str(folder / "model.onnx")) as (local, graph):
        assert graph.parameters <= 2 * local.stat().st_size


TARGETS = (
    Target("model (.keras)", read_keras, keras_files, 0.2, packed=damaged_inside, seconds=30),
    Target("model, first look", check_keras, keras_files, 2, packed=damaged_inside),
    Target("checkpoint", read_checkpoint, checkpoints, 1, seconds=30),
    Target("TensorFlow 1 graph", read_frozen, frozen_graphs, 1, seconds=30),
    Target("TensorFlow 1 checkpoint", read_index, _indexes, 1, seconds=30),
    Target("TensorFlow 1 archive", read_archive, _archives, 0.5, seconds=30),
    Target("weights (.h5)", read_h5, h5_files, 1, seconds=30),
    Target("state dict (.pt)", read_torch, torch_files, 2, seconds=30),
    Target("state dict (.safetensors)", read_safetensors, safetensors_files, 1, seconds=30),
    Target("network (.onnx)", read_onnx, onnx_files, 2, packed=changed_graph, seconds=30),
)
