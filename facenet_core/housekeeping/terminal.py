"""Pictures inside a terminal, where it can show them: the protocols of kitty and of iTerm2."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Literal

Protocol = Literal["kitty", "iterm2"]
_CHUNK = 4096  # bytes of base64 that kitty takes at a time


def protocol(environment: Mapping[str, str], is_terminal: bool) -> Protocol | None:
    """How this terminal shows pictures, or None. Multiplexers swallow both protocols."""
    if not is_terminal or "TMUX" in environment or environment.get("TERM", "").startswith("screen"):
        return None
    program = environment.get("TERM_PROGRAM", "")
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    kitty = "KITTY_WINDOW_ID" in environment or environment.get("TERM") == "xterm-kitty"
    return "kitty" if kitty or program == "ghostty" else None


def inline(png: bytes, how: Protocol) -> str:
    """The text that shows a PNG at the cursor."""
    data = base64.b64encode(png).decode()
    if how == "iterm2":
        return f"\033]1337;File=inline=1;size={len(png)}:{data}\a\n"
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    last = len(chunks) - 1
    written = ""
    for number, chunk in enumerate(chunks):
        control = "a=T,f=100," if number == 0 else ""
        written += f"\033_G{control}m={int(number < last)};{chunk}\033\\"
    return written + "\n"
