"""The variables of a model from elsewhere, by name, read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facenet_core.errors import ModelError
from facenet_core.models.formats.files import describe_content

# Keras' names for TF-Slim's.
KINDS = {"kernel": "weights", "bias": "biases"}
LARGEST_EMBEDDING = 2**14  # dimensions; a file may claim any
_LARGEST_VARIABLE = 2**28  # values; the classifier of a million people on 128 dimensions has half


@dataclass(frozen=True)
class Variables:
    """Variables that are read when they are asked for.

    Attributes:
        source: named in messages.
        shapes: by name, without `:0`.
    """

    source: str
    shapes: Mapping[str, tuple[int, ...]]
    _read: Callable[[str], np.ndarray]

    def read(self, name: str) -> np.ndarray:
        """float32, in the variable's shape.

        Raises:
            ModelError: it is too large, damaged, of another type, or not finite.
        """
        if math.prod(self.shapes[name]) > _LARGEST_VARIABLE:
            raise ModelError(f"{self.source}: {name} {list(self.shapes[name])} is too large")
        try:
            value = np.asarray(self._read(name))
        except ModelError:
            raise
        except Exception as error:  # a checksum, a short file, in each format's own kinds
            raise ModelError(
                f"{self.source}: {name} cannot be read ({first_line(error)}); fetch it again"
            ) from None
        if value.dtype.kind != "f":
            raise ModelError(f"{self.source}: {name} is {value.dtype}, expected float32")
        if not np.isfinite(value).all():
            raise ModelError(f"{self.source}: {name} holds numbers that are not finite")
        return value.astype(np.float32, copy=False)


def open_error(source: str, path: Path, kind: str, error: Exception) -> ModelError:
    """What is wrong with a file that is not of the kind that its name says, or damaged."""
    with path.open("rb") as file:
        content = describe_content(file.read(8))
    return ModelError(f"{source}: not {kind} that can be read: {content} ({first_line(error)})")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def listed(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
