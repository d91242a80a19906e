"""What commands write to a terminal: the one way out, for lines, tables, errors and JSON."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from facenet_core.privacy.url_secrets import in_depth, scrub
from facenet_core.text.printable import printable, shortened

if TYPE_CHECKING:
    from rich.console import Console

_LONGEST_LINE = 4_000  # characters
_LONGEST = 200_000


def fit(text: str) -> str:
    """A text without secrets and characters of control, and of a length that people read."""
    lines = scrub(shortened(text, 4 * _LONGEST)).split("\n")
    whole = "\n".join(shortened(printable(line), _LONGEST_LINE) for line in lines)
    return shortened(whole, _LONGEST)


def echo(text: object = "") -> None:
    """Print to stdout."""
    print(fit(str(text)))


def echo_error(text: object) -> None:
    """Print to stderr."""
    print(fit(str(text)), file=sys.stderr)


def echo_json(value: Any) -> None:
    """Print one JSON object, in which characters of control are escaped already."""
    value = in_depth(lambda text: scrub(text) if "://" in text else text, value)
    print(json.dumps(value, default=str))


def console(**options: Any) -> Console:
    """A rich console on stdout, or what `options` say, for tables."""
    from rich.console import Console
    from rich.text import Text

    class Fit(Console):
        def render_str(self, text: str, **kwargs: Any) -> Text:
            return super().render_str(fit(text), **kwargs)

    return Fit(**({"file": sys.stdout} | options))


class Warnings(logging.Formatter):
    """Of the library's warnings."""

    def format(self, record: logging.LogRecord) -> str:
        return fit(f"facenet: {super().format(record)}")
