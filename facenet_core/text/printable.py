r"""Make text from strangers safe for a terminal, a web page and a spreadsheet.

Names come from paths of photographs, tables and servers. In a terminal, escape sequences can
retitle, recolour and overwrite; direction marks reorder the text around them; and spreadsheets run
a cell that begins with `=` as a formula (OWASP, CSV Injection).
"""

from __future__ import annotations

import re

# All of control but tab and line feed, marks of direction, line separators, and half characters,
# which cannot be encoded.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def printable(text: str) -> str:
    r"""The text with control and direction characters spelled out, such as `\x1b`."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def shortened(text: str, longest: int) -> str:
    """The text, or only its beginning and end if it has more characters than `longest`."""
    if len(text) <= longest:
        return text
    tail = longest // 4
    return f"{text[: longest - tail]}… ({len(text):,} characters) …{text[-tail:]}"


def to_cell(text: str) -> str:
    """The text as a CSV cell that no spreadsheet computes: `'=1+1` for `=1+1`."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """The text that `to_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
