"""Pickles from strangers: an unpickler that resolves a few names, each to inert code of ours.

A pickle is a program, and Python's own unpickler calls whatever it names.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

# What a pickle may call, by module and name.
Names = Mapping[tuple[str, str], Any]


class NotAllowed(Exception):
    """The pickle asks for something that its kind of file does not need."""


class InertUnpickler(pickle._Unpickler):
    """Resolves no name but those that it is given.

    It derives from the unpickler written in Python: the one in C allocates a table as long as a
    number in the file says. For a bytearray the one in Python does so, too. Keys of dictionaries
    are texts, bytes or numbers: hashing tuples of tuples can take for ever.

    Args:
        names: what the pickle may call.
        persistent: makes an object of what the file says of one that lies outside the pickle.
    """

    read: Callable[[int], bytes]  # set by `load`
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(
        self,
        file: BinaryIO,
        names: Names,
        persistent: Callable[[Any], Any] | None = None,
        encoding: str = "ASCII",
    ) -> None:
        super().__init__(file, encoding=encoding)
        self._names = names
        self._persistent = persistent

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def load_build(self) -> None:
        """Only stand-ins have a state; setting that of a function would change it for good."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, type) or not hasattr(type(target), "__setstate__"):
            raise NotAllowed(f"sets the state of a {type(target).__name__}")
        target.__setstate__(state)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise NotAllowed(f"sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes | int | float):
                raise NotAllowed(f"has a {type(key).__name__} as a key")
            target[key] = value

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    for _unused in (pickle.ADDITEMS, pickle.FROZENSET, pickle.EXT1, pickle.EXT2, pickle.EXT4):
        del dispatch[_unused[0]]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._names[module, name]
        except KeyError:
            raise NotAllowed(f"wants to call {module}.{name}, which is not done") from None

    def persistent_load(self, key: Any) -> Any:
        if self._persistent is None:
            raise NotAllowed("refers to objects outside the file")
        return self._persistent(key)
