"""InsightFace's verification sets (`lfw.bin`, `agedb_30.bin` …): a pickle of images and labels.

A pickle can run any code. This unpickler accepts only lists, tuples, bytes,
numbers and inert stand-ins for the NumPy arrays that some of the files hold.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facenet_core import storage
from facenet_core.errors import PairsError
from facenet_core.storage.inert_pickle import InertUnpickler, NotAllowed
from facenet_core.text.plural import plural

_EXPECTED = "a pickle of (encoded images, whether each two of them are of one person)"


@dataclass(frozen=True)
class VerificationSet:
    """Images of faces, aligned and encoded, and whether image 2i and 2i + 1 are of one person."""

    images: tuple[bytes, ...]
    same: np.ndarray


def read(uri: str) -> VerificationSet:
    """Read a `.bin`; all of its images are in memory (some 100 MB for the usual sets).

    Raises:
        PairsError: there is no such file, or it is another kind of pickle.
    """
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError:
        raise PairsError(f"{uri}: no such file; expected an InsightFace verification set") from None
    try:
        images, labels = InertUnpickler(io.BytesIO(content), _KNOWN, encoding="bytes").load()
        images = tuple(_bytes(image) for image in _items(images))
        same = np.array([_truth(label) for label in _items(labels)], bool)
    except NotAllowed as error:
        raise PairsError(f"{uri}: {error}; expected {_EXPECTED}") from None
    except Exception as error:  # whatever a damaged pickle makes the unpickler raise
        raise PairsError(f"{uri}: cannot be read ({error}); expected {_EXPECTED}") from None
    if len(images) != 2 * len(same) or not len(same):
        raise PairsError(
            f"{uri}: {plural(len(images), 'image')} for {plural(len(same), 'pair')}; "
            f"expected {_EXPECTED}"
        )
    return VerificationSet(images, same)


class _Dtype:
    """Stands in for a NumPy dtype: its letter, such as `b1`."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = code.decode() if isinstance(code, bytes) else code
        self.code = code if isinstance(code, str) else ""

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands in for a NumPy array of one axis, whose bytes it holds."""

    def __init__(self, *_: Any) -> None:
        self.items: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, data = state
        if isinstance(data, list):
            self.items = data
            return
        if len(shape) != 1 or dtype.code not in ("b1", "u1", "i1", "i4", "i8"):
            raise NotAllowed(f"holds an array of {dtype.code:.20} with {len(shape)} axes")
        data = data.encode("latin-1") if isinstance(data, str) else data
        self.items = np.frombuffer(data, dtype.code, count=shape[0]).tolist()


def _from_buffer(data: Any, dtype: _Dtype, shape: Any, *_: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, False, data))
    return array


def _scalar(dtype: _Dtype, data: Any) -> int:
    if dtype.code not in ("b1", "u1", "i1", "i4", "i8"):
        raise NotAllowed(f"holds a number of {dtype.code}")
    data = data.encode("latin-1") if isinstance(data, str) else data
    return int(np.frombuffer(data, dtype.code, count=1)[0])


def _from_latin(text: Any, encoding: Any = "latin1") -> bytes:
    """What Python 3 calls to keep bytes in pickles that Python 2 can read."""
    if isinstance(text, str) and encoding in ("latin1", b"latin1"):
        return text.encode("latin-1")
    raise NotAllowed("calls _codecs.encode with another encoding")


def _plain_bytes(content: Any = b"", encoding: Any = "latin-1") -> bytes:
    """What Python 3 calls for empty bytes and for bytearrays in older protocols."""
    if isinstance(content, str):
        return _from_latin(content, "latin1" if encoding == "latin-1" else encoding)
    if isinstance(content, bytes):
        return content
    raise NotAllowed("calls bytes with something else than bytes")


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _from_latin,
    **{
        (module, name): _plain_bytes
        for module in ("builtins", "__builtin__")
        for name in ("bytes", "bytearray")
    },
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    **{
        (f"{package}.{name}", function): stand_in
        for package in ("numpy.core", "numpy._core")
        for name, function, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def _items(value: Any) -> Sequence[Any]:
    items = value.items if isinstance(value, _Array) else value
    if not isinstance(items, list | tuple):
        raise NotAllowed(f"holds a {type(value).__name__} in place of a list")
    return items


def _bytes(image: Any) -> bytes:
    if isinstance(image, _Array):
        return bytes(image.items)
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    raise NotAllowed(f"holds a {type(image).__name__} in place of an encoded image")


def _truth(label: Any) -> bool:
    if isinstance(label, bool | int) and label in (0, 1):
        return bool(label)
    # What is nested may be written out for ever.
    plain = isinstance(label, int | float | str)
    text = f"{label!r:.40}" if plain else f"of {type(label).__name__}"
    raise NotAllowed(f"has the label {text} in place of true or false")
