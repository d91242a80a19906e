"""The `type` of options of commands, so that a wrong one is refused while words are parsed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError


def whole(**bounds: int) -> Callable[[str], Any]:
    """An int within `bounds` (ge, gt, le, lt)."""
    return _reader(TypeAdapter(Annotated[int, Field(**bounds)]))  # type: ignore[call-overload]


def real(**bounds: float) -> Callable[[str], Any]:
    """A finite float within `bounds` (ge, gt, le, lt)."""
    finite = Field(allow_inf_nan=False, **bounds)  # type: ignore[call-overload]
    return _reader(TypeAdapter(Annotated[float, finite]))


def block_name(text: str) -> str:
    """The name of a Prefect block."""
    if re.fullmatch("[a-z0-9-]+", text) is None:
        raise argparse.ArgumentTypeError(
            f"invalid block name {text}; expected small letters, digits and dashes"
        )
    return text


def _reader(adapter: TypeAdapter[Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"{error.errors()[0]['msg']} (got {text})") from None

    return read
