"""The tensors of a state dict that `torch.save` wrote, without PyTorch and without running code.

Files since PyTorch 1.6 are a zip archive of a pickle and one file for each storage; older ones, as
facenet-pytorch's, are pickles with the storages behind them. The pickle says how tensors lie in
the storages, and is read by an unpickler that knows tensors and nothing else.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facenet_core.errors import ModelError
from facenet_core.models.formats.variables import Variables, open_error
from facenet_core.storage.inert_pickle import InertUnpickler, NotAllowed

_KIND = "a state dict of PyTorch"
_MAGIC = 0x1950A86A20F9469CFC6C  # of files before PyTorch 1.6
_PROTOCOL = 1001
_LARGEST_PICKLE = 2**26  # bytes; that of a network of a thousand layers has one hundredth
# Storages by the name of their class, as little-endian NumPy types; bfloat16 NumPy has not.
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
# Where a checkpoint holds the state dict beside other things.
_INSIDE = ("state_dict", "model_state_dict", "model")

Read = Callable[[str], bytes]


@dataclass(frozen=True)
class _StorageClass:
    name: str


@dataclass(frozen=True)
class _Storage:
    """Numbers in the file, in a row."""

    kind: str
    key: str
    count: int

    @property
    def bytes(self) -> int:
        return self.count * np.dtype(_STORAGES[self.kind]).itemsize


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides are counted in values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _OrderedDict(dict[Any, Any]):
    """Stands in for the mapping that a state dict is; its metadata are versions of layers.

    It is made empty, as PyTorch makes it: keys of items that came at once would not be checked.
    """

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


@contextmanager
def open_torch(source: str, path: Path) -> Iterator[Variables]:
    """The tensors of a `.pt` or `.pth`, by their names there, for the time of the block.

    Raises:
        ModelError: it is damaged, of another kind, or its pickle wants to call something.
    """
    with path.open("rb") as file:
        try:
            pickled, read = _open_zip(file) if zipfile.is_zipfile(file) else _open_old(file)
            tensors = _tensors(pickled)
        except NotAllowed as error:
            raise ModelError(
                f"{source}: its pickle {error}; expected {_KIND}: torch.save(model.state_dict(), …)"
            ) from None
        except Exception as error:  # whatever a damaged pickle or archive makes the readers raise
            raise open_error(source, path, _KIND, error) from None
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        yield Variables(source, shapes, lambda name: _values(tensors[name], read))


def _open_zip(file: BinaryIO) -> tuple[Any, Read]:
    archive = zipfile.ZipFile(file)
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise NotAllowed(f"is not alone: there are {len(pickles)} data.pkl in the archive")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise NotAllowed("is of a TorchScript program")

    def read(name: str) -> bytes:
        info = members[f"{folder}{name}"]
        if info.compress_type != zipfile.ZIP_STORED:  # PyTorch packs nothing
            raise NotAllowed(f"has a packed {name}")
        return archive.read(info)

    if f"{folder}byteorder" in members and read("byteorder") != b"little":
        raise NotAllowed("is of a machine with another order of bytes")
    if members[pickles[0]].file_size > _LARGEST_PICKLE:
        raise NotAllowed("is too large")
    return _load(io.BytesIO(read("data.pkl"))), lambda key: read(f"data/{key}")


def _open_old(file: BinaryIO) -> tuple[Any, Read]:
    file.seek(0)
    head = io.BytesIO(file.read(_LARGEST_PICKLE))
    storages: dict[str, _Storage] = {}
    if (_load(head), _load(head)) != (_MAGIC, _PROTOCOL):
        raise NotAllowed("is not one of PyTorch")
    if not _load(head).get("little_endian", True):
        raise NotAllowed("is of a machine with another order of bytes")
    pickled = _load(head, storages)
    keys, offsets = _load(head), {}
    offset = head.tell()
    for key in keys:
        if not isinstance(key, str):  # hashing others can take for ever
            raise NotAllowed(f"names a storage by a {type(key).__name__}")
        offsets[key] = offset + 8  # behind the number of values
        file.seek(offset)
        (count,) = struct.unpack("<q", file.read(8))
        if count != storages[key].count:
            raise ValueError(f"storage {key} has {count} values, expected {storages[key].count}")
        offset += 8 + storages[key].bytes

    def read(key: str) -> bytes:
        file.seek(offsets[key])
        return file.read(storages[key].bytes)

    return pickled, read


def _load(file: BinaryIO, storages: dict[str, _Storage] | None = None) -> Any:
    def storage(key: Any) -> _Storage:
        tag, kind, name, _, count, *view = key
        if tag != "storage" or not isinstance(kind, _StorageClass) or any(view):
            raise NotAllowed("refers to something else than a storage")
        if not isinstance(name, str) or not isinstance(count, int) or count < 0:
            raise NotAllowed("refers to a storage without name or size")
        made = _Storage(kind.name, name, count)
        if storages is not None and storages.setdefault(name, made) != made:
            raise NotAllowed(f"gives storage {name} two types")
        return made

    return InertUnpickler(file, _KNOWN, storage, encoding="utf-8").load()


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    shape, strides = tuple(shape), tuple(strides)
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise NotAllowed("makes a tensor of something else than a storage")
    if not all(isinstance(number, int) and 0 <= number < 2**40 for number in numbers):
        raise NotAllowed("makes a tensor of an impossible size")
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    values = math.prod(shape)
    if values and (last >= storage.count or values > storage.count):
        raise NotAllowed("makes a tensor larger than its storage")
    return _Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): _StorageClass(name) for name in _STORAGES},
}


def _tensors(pickled: Any) -> dict[str, _Tensor]:
    if not isinstance(pickled, dict):
        raise NotAllowed(f"holds a {type(pickled).__name__}")
    inside = [name for name in _INSIDE if isinstance(pickled.get(name), dict)]
    state = pickled[inside[0]] if inside else pickled
    odd = [name for name, value in state.items() if not isinstance(value, _Tensor)]
    if odd:
        raise NotAllowed(f"has a {type(state[odd[0]]).__name__} as {odd[0]!r:.60}")
    return {str(name): tensor for name, tensor in state.items()}


def _values(tensor: _Tensor, read: Read) -> np.ndarray:
    data = read(tensor.storage.key)
    if len(data) < tensor.storage.bytes:
        raise ValueError("the file is cut short")
    row = np.frombuffer(data, _STORAGES[tensor.storage.kind], tensor.storage.count)
    if tensor.storage.kind == "BFloat16Storage":  # the upper half of a float32
        row = (row.astype(np.uint32) << 16).view(np.float32)
    strides = [step * row.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(row[tensor.offset :], tensor.shape, strides)
