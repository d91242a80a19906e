"""Names from photographs' paths, tables and servers, made fit for a terminal."""

from __future__ import annotations

import re

# All of control but tab and line feed: escape sequences can retitle, recolour and overwrite.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""The text with characters of control spelled out, such as `\x1b`."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
