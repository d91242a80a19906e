"""ONNX files from anywhere: what they take and give, checked before a runtime sees them.

A runtime follows what a file says: paths of external data, operators of other libraries, sizes of
any kind. Here all of them are read from the file as data, and refused where they are not those of a
network from one image to one embedding.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from google.protobuf.message import DecodeError, Message

from facenet_core import storage
from facenet_core.errors import ModelError, StorageError
from facenet_core.extras import MissingPackage, install, installed
from facenet_core.models.face_model import ONNX_FILE
from facenet_core.models.formats.files import LARGEST_FILE
from facenet_core.models.formats.variables import LARGEST_EMBEDDING
from facenet_core.runtime import quietly

_SIDES = range(16, 2049)  # pixels, as `AlignConfig.image_size`
_LARGEST_BATCH = 256  # of a graph with a fixed one
# Operators that every runtime brings along: ONNX's own and those of its machine learning library.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


@dataclass(frozen=True)
class OnnxGraph:
    """The signature of a network from images to embeddings.

    Attributes:
        input, output: names of its tensors.
        layout: where the channels are.
        dtype: of the input.
        image_size: s, where the graph says.
        batch: images that it takes at a time; None: any number.
        embedding_size: d, where the graph says.
        parameters: values of its weights.
        metadata: `metadata_props` of the file.
    """

    input: str
    output: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["uint8", "float32"]
    image_size: int | None
    batch: int | None
    embedding_size: int | None
    parameters: int
    metadata: Mapping[str, str]


@contextmanager
def fetched(uri: str) -> Iterator[tuple[Path, OnnxGraph]]:
    """A local copy of an ONNX file for the time of the block, external data in it, and what it
    takes and gives.

    External data are read from beside the file and nowhere else.

    Raises:
        MissingPackage: the package onnx is not installed.
        ModelError: it is missing, damaged, or not a network from one image to one embedding.
    """
    with storage.temporary_folder() as folder:
        local = folder / ONNX_FILE
        yield local, _fetch(uri, local)


def _fetch(uri: str, local: Path) -> OnnxGraph:
    if not installed("onnx"):
        raise MissingPackage(f"{uri}: needs the package onnx: {install('use')}")
    with quietly():
        import onnx

    if not storage.exists(uri):
        raise ModelError(f"{uri}: no such file")
    storage.fetch_file(uri, local, LARGEST_FILE)
    try:
        model = onnx.load_model_from_string(storage.read_local(local, LARGEST_FILE))
    except DecodeError:
        raise ModelError(f"{uri}: not an ONNX file that can be read, or cut short") from None
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{uri}: not an ONNX file: no operators of a graph in it")
    _check_text(uri, model)
    _check_operators(uri, model)
    if _bring_in_external_data(uri, model):
        try:
            local.write_bytes(model.SerializeToString())
        except ValueError:
            raise ModelError(f"{uri}: has more than {LARGEST_FILE:,} bytes with its data") from None
    parameters = _check_tensors(uri, model, local.stat().st_size)
    return _signature(uri, model, parameters)


def _check_text(uri: str, model: Any) -> None:
    """Protocol buffers give a string that is not UTF-8 as bytes."""
    for message in _messages(model):
        for field, value in message.ListFields():
            if field.type != field.TYPE_STRING:
                continue
            texts = [value] if isinstance(value, str | bytes) else value
            if any(isinstance(text, bytes) for text in texts):
                raise ModelError(f"{uri}: damaged: its {field.full_name} is not UTF-8")


def _check_operators(uri: str, model: Any) -> None:
    defined = {function.domain for function in model.functions}  # in the file itself
    others = {node.domain for node in _nodes(model)} - _DOMAINS - defined
    if others:
        raise ModelError(
            f"{uri}: has operators of {', '.join(sorted(others))[:200]}, which a runtime of ONNX "
            "does not have by itself; export the network with ONNX's own operators"
        )


def _bring_in_external_data(uri: str, model: Any) -> bool:
    """Put the values that lie in other files into the model; whether there were any."""
    from onnx import TensorProto

    external = [t for t in _tensors(model) if t.data_location == TensorProto.EXTERNAL]
    files: dict[str, bytes] = {}
    for tensor in external:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in files:
            files[location] = _read_beside(uri, location)
        data = files[location]
        try:
            offset = int(entries.get("offset") or 0)
            length = int(entries.get("length") or len(data) - offset)
        except ValueError:
            offset, length = -1, 0
        if offset < 0 or length < 0 or offset + length > len(data):
            raise ModelError(
                f"{uri}: the values of {tensor.name!r} are not all in {location} "
                f"({len(data):,} bytes); fetch both files again"
            )
        tensor.raw_data = data[offset : offset + length]
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    return bool(external)


def _read_beside(uri: str, location: str) -> bytes:
    """The content of a file in the folder of `uri`, or below it."""
    folder = posixpath.dirname(uri)
    parts = location.split("/")
    outside = not {"\\", "\0"}.isdisjoint(location) or not {"", ".", ".."}.isdisjoint(parts)
    target = storage.join(folder, location)
    local = storage.local_path(folder)
    if local is not None and not outside:  # links may lead anywhere
        inside = os.path.realpath(local)
        outside = os.path.commonpath([inside, os.path.realpath(Path(local, location))]) != inside
    if outside:
        raise ModelError(
            f"{uri}: asks for data at {location!r}, outside its folder, which is not read"
        )
    try:
        return storage.read_bytes(target, LARGEST_FILE)
    except FileNotFoundError:
        raise ModelError(
            f"{uri}: its values are in {location}, which is not there; fetch it, too"
        ) from None
    except (StorageError, OSError) as error:
        raise ModelError(f"{uri}: its values in {location} cannot be read: {error}") from None


def _check_tensors(uri: str, model: Any, size: int) -> int:
    """The number of values, none of which are missing from the file of `size` bytes."""
    parameters = 0
    for tensor in _tensors(model):
        values = math.prod(tensor.dims)
        # Values of four bits are the smallest that there are.
        if values > 2 * size or any(dim < 0 for dim in tensor.dims):
            raise ModelError(
                f"{uri}: {tensor.name!r} claims the shape {list(tensor.dims)[:8]}, of more values "
                f"than a file of {size:,} bytes holds; it is damaged, or made to fill the memory"
            )
        parameters += values
    return parameters


def _signature(uri: str, model: Any, parameters: int) -> OnnxGraph:
    from onnx import TensorProto

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    outputs = list(model.graph.output)
    for values, kind in ((inputs, "inputs"), (outputs, "outputs")):
        if len(values) != 1:
            names = ", ".join(value.name for value in values[:5]) or "none"
            raise ModelError(
                f"{uri}: has {len(values)} {kind} ({names}); expected one, "
                + ("images" if kind == "inputs" else "embeddings")
            )
    types = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}
    dtype = types.get(inputs[0].type.tensor_type.elem_type)
    shape = _shape(inputs[0])
    if dtype is None or len(shape) != 4 or [shape[1], shape[3]].count(3) != 1:
        raise ModelError(
            f"{uri}: its input {inputs[0].name} has the shape {_listed(shape)}"
            + (" and is neither float32 nor uint8" if dtype is None else "")
            + "; expected images [n, 3, s, s] or [n, s, s, 3]"
        )
    layout: Literal["NCHW", "NHWC"] = "NCHW" if shape[1] == 3 else "NHWC"
    height, width = shape[2:] if layout == "NCHW" else shape[1:3]
    if height != width or (height is not None and height not in _SIDES):
        raise ModelError(
            f"{uri}: takes images of {_listed([height, width])} pixels; expected squares of "
            f"{_SIDES[0]} to {_SIDES[-1]}"
        )
    if shape[0] is not None and not 0 < shape[0] <= _LARGEST_BATCH:
        raise ModelError(
            f"{uri}: takes {shape[0]} images at a time; expected any number, or up to "
            f"{_LARGEST_BATCH}"
        )
    dimensions = _dimensions(uri, outputs[0])
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return OnnxGraph(
        inputs[0].name,
        outputs[0].name,
        layout,
        "uint8" if dtype == "uint8" else "float32",
        height,
        shape[0],
        dimensions,
        parameters,
        metadata,
    )


def _dimensions(uri: str, output: Any) -> int | None:
    """d of [n, d], also with sides of one pixel behind it; None where the graph does not say."""
    from onnx import TensorProto

    shape = _shape(output)
    if not shape:  # not inferred
        return None
    is_float = output.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.UNDEFINED)
    flat = len(shape) >= 2 and all(side in (1, None) for side in shape[2:])
    if not is_float or not flat or not (shape[1] is None or 0 < shape[1] <= LARGEST_EMBEDDING):
        raise ModelError(
            f"{uri}: its output {output.name} has the shape {_listed(shape)}; expected embeddings "
            f"[n, d] float32 of up to {LARGEST_EMBEDDING:,} dimensions"
        )
    return shape[1]


def _shape(value: Any) -> list[int | None]:
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in value.type.tensor_type.shape.dim
    ]


def _listed(shape: list[int | None]) -> str:
    return "[" + ", ".join("?" if side is None else str(side) for side in shape[:8]) + "]"


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors with values, wherever in the model."""
    from onnx import TensorProto

    return (message for message in _messages(model) if isinstance(message, TensorProto))


def _nodes(model: Any) -> Iterator[Any]:
    """All nodes, also of functions and of the graphs in loops and conditions."""
    from onnx import NodeProto

    return (message for message in _messages(model) if isinstance(message, NodeProto))


def _messages(message: Message) -> Iterator[Message]:
    """A message of a protocol buffer and all that are in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _messages(inner)
