"""Weights as PyTorch and Keras 2 write them, without either."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np

from facenet_core.models.formats.state_dict import _sources

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_CLASSES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class Called:
    """Pickled as a call of a function by name, as PyTorch's tensors are."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name = name
        self.arguments = arguments


class _StorageClass:
    def __init__(self, name: str) -> None:
        self.name = name


class _Pickler(pickle._Pickler):
    """Writes `Called` and storages by the names that PyTorch's classes have."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)

    def save_called(self, called: Called) -> None:
        self._save_name(called.name)
        self.save(called.arguments)
        self.write(pickle.REDUCE)

    def save_class(self, storage: _StorageClass) -> None:
        self._save_name(f"torch.{storage.name}")

    dispatch[Called] = save_called
    dispatch[_StorageClass] = save_class

    def _save_name(self, name: str) -> None:
        module, _, function = name.rpartition(".")
        self.write(pickle.GLOBAL + f"{module}\n{function}\n".encode())

    def persistent_id(self, value: Any) -> Any:
        return value if isinstance(value, tuple) and value[:1] == ("storage",) else None


def dumps(value: Any) -> bytes:
    """A pickle of protocol 2, as `torch.save` writes it."""
    stream = io.BytesIO()
    _Pickler(stream, 2).dump(value)
    return stream.getvalue()


def tensor(key: str, array: np.ndarray, legacy: bool = False) -> Called:
    """A tensor that has storage `key` for itself."""
    kind = _StorageClass(_CLASSES[str(array.dtype)])
    storage = ("storage", kind, key, "cpu", array.size, *((None,) if legacy else ()))
    strides = tuple(step // array.itemsize for step in array.strides)
    hooks: Any = OrderedDict()
    arguments = (storage, 0, array.shape, strides, False, hooks)
    return Called("torch._utils._rebuild_tensor_v2", *arguments)


def write_zip(state: Mapping[str, np.ndarray], pickled: bytes | None = None) -> bytes:
    """As PyTorch has written since 1.6: a zip archive, nothing packed."""
    stream = io.BytesIO()
    arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
    tensors = OrderedDict((n, tensor(str(i), a)) for i, (n, a) in enumerate(arrays.items()))
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", dumps(tensors) if pickled is None else pickled)
        archive.writestr("archive/byteorder", "little")
        for number, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{number}", array.tobytes())
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def write_old(state: Mapping[str, np.ndarray], pickled: bytes | None = None) -> bytes:
    """As PyTorch wrote before 1.6: pickles, and the storages behind them."""
    arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
    tensors = OrderedDict((n, tensor(str(i), a, True)) for i, (n, a) in enumerate(arrays.items()))
    parts = [dumps(_MAGIC), dumps(_PROTOCOL), dumps({"little_endian": True})]
    parts += [dumps(tensors) if pickled is None else pickled]
    parts += [dumps([str(number) for number in range(len(arrays))])]
    for array in arrays.values():
        parts += [np.int64(array.size).tobytes(), array.tobytes()]
    return b"".join(parts)


def of_graph(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict of facenet-pytorch's network with the values of an original's graph."""
    state: dict[str, np.ndarray] = {}
    for name, (names, _) in _sources().items():
        array = arrays[name]
        if name.endswith("/weights"):
            array = array.transpose(-1, -2, *range(array.ndim - 2))
            if len(names) == 2:
                state[names[1]] = np.ones(len(array), np.float32)
                state[names[1].replace("weight", "num_batches_tracked")] = np.array(7)
        state[names[0]] = array
    return state


def write_h5(path: Path, arrays: Mapping[str, np.ndarray], whole: bool = False) -> Path:
    """The arrays of an original's graph as Keras 2 wrote them, named as deepface's builder does.

    Args:
        whole: with a configuration that holds a Lambda, which nobody may look at.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        if whole:
            file.attrs["model_config"] = '{"class_name": "Lambda", "config": "os.system(…)"}'
        for name, array in arrays.items():
            scope, _, kind = name.partition("/")[2].rpartition("/")
            layer = re.sub(r"^Repeat\w*/block(\d+)_", r"Block\1_", scope)
            layer = re.sub(r"^Block8/", "Block8_6/", layer).replace("/", "_")
            kind = {"weights": "kernel", "biases": "bias"}.get(kind, kind)
            root[f"{layer}/{layer}/{kind}:0"] = array
    return path


def graph_arrays() -> dict[str, np.ndarray]:
    """The variables of an original's graph by name, each small and with numbers of its own."""
    arrays = {}
    for name in _sources():
        shape: tuple[int, ...] = (4,)
        if name.endswith("/weights"):
            shape = (3, 4) if "/Bottleneck/" in name else (1, 2, 3, 4)
        random = np.random.default_rng(zlib.crc32(name.encode()))
        arrays[name] = random.random(shape, np.float32) + np.float32(0.5)
    return arrays
