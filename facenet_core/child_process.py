"""Python in a child process: for work that a library in C or C++ may crash or hang."""

from __future__ import annotations

import os
import signal
import sys


def command(module: str, *words: str) -> list[str]:
    """What runs a module.

    With -P: what lies in the folder one works in is data, and no module of Python's.
    """
    return [sys.executable, "-P", "-m", module, *words]


def environment() -> dict[str, str]:
    """This process's, and the same modules can be imported."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def fate(status: int) -> str:
    """How a child with this exit status ended, such as SIGSEGV."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
