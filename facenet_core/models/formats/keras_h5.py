"""The weights in an HDF5 file of Keras 2: a whole model, or what `save_weights` wrote.

Arrays are taken by name. The configuration of a whole model, whose Lambda layers hold code, is not
looked at. The names are those of the builders that published FaceNets were converted with:
nyoki-mtl/keras-facenet, faustomorales/keras-facenet and deepface.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from facenet_core.errors import ModelError
from facenet_core.models.formats.variables import KINDS, Variables, open_error

_WHOLE_MODEL = "model_weights"  # the group of a whole model; else weights lie at the root
_OF_TRAINING = "optimizer_weights"
_REPEATS = {"35": "Repeat/block35", "17": "Repeat_1/block17", "8": "Repeat_2/block8"}
_LAST_BLOCK = ("8", "6")  # stands apart in the original's graph: it has no activation
_LARGEST_RATIO = 100  # bytes of an array for each of the file that it is packed into
_MOST_ARRAYS = 100_000


@contextmanager
def open_h5(source: str, path: Path) -> Iterator[Variables]:
    """The file's arrays by the names of the original's graph, for the time of the block.

    Raises:
        ModelError: it is damaged, or arrays lie outside the file or unpack to far more than it.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise open_error(source, path, "an HDF5 file", error) from None
    with file:
        try:
            arrays = _arrays(source, file)
        except ModelError:
            raise
        except Exception as error:  # h5py's kinds: RuntimeError, KeyError, ValueError
            raise open_error(source, path, "an HDF5 file", error) from None
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        yield Variables(source, shapes, lambda name: arrays[name][()])


def _arrays(source: str, file: h5py.File) -> dict[str, h5py.Dataset]:
    whole = isinstance(file.get(_WHOLE_MODEL, getlink=True), h5py.HardLink)
    groups = [("", file[_WHOLE_MODEL] if whole else file["/"])]
    arrays: dict[str, h5py.Dataset] = {}
    seen = set()
    while groups:
        parent, group = groups.pop()
        if (address := h5py.h5o.get_info(group.id).addr) in seen:
            raise ModelError(f"{source}: {group.name} is inside itself")
        seen.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ModelError(f"{source}: {name} is a link, and links are not followed")
            kind = group.get(name, getclass=True)
            if kind is h5py.Group and name != _OF_TRAINING:
                groups.append((name, group[name]))
            elif kind is h5py.Dataset:
                variable = _variable_name(parent, name)
                if variable in arrays or len(arrays) == _MOST_ARRAYS:
                    raise ModelError(f"{source}: {variable} is there twice, or there are too many")
                arrays[variable] = _checked(source, group[name])
    return arrays


def _checked(source: str, array: h5py.Dataset) -> h5py.Dataset:
    if array.is_virtual or array.external:
        raise ModelError(f"{source}: {array.name} lies in another file, which is not opened")
    if array.dtype.hasobject:  # of any length, wherever it lies in the file
        raise ModelError(f"{source}: {array.name} holds no numbers")
    unpacked = math.prod(array.shape or ()) * array.dtype.itemsize
    if unpacked > _LARGEST_RATIO * array.id.get_storage_size():
        raise ModelError(
            f"{source}: {array.name} {list(array.shape)} unpacks to {unpacked:,} bytes, far more "
            "than the file holds; it is damaged, or made to fill the memory"
        )
    return array


def _variable_name(layer: str, array: str) -> str:
    """`Block35_1_Branch_0_Conv2d_1x1`, `kernel:0` as the original's graph names that variable."""
    layer, batch_norm = re.subn(r"_BatchNorm$", "", layer)
    layer = re.sub(r"_?(Branch_\d)_", r"/\1/", layer)
    if block := re.fullmatch(r"Block(35|17|8)_(\d+)[/_](.+)", layer):
        size, number, rest = block.groups()
        scope = "Block8" if (size, number) == _LAST_BLOCK else f"{_REPEATS[size]}_{number}"
        layer = f"{scope}/{rest}"
    kind = array.partition(":")[0]
    scope = f"InceptionResnetV1/{layer}" + ("/BatchNorm" if batch_norm else "")
    return f"{scope}/{KINDS.get(kind, kind)}"
