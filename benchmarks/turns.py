"""Contestants that take turns: child processes which do their work when asked, one at a time.

Peers run it too, in environments of their own: it knows nothing of this project.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO


def answers() -> TextIO:
    """In a child: what it answers with. Whatever engines print from now on goes to stderr."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return stream


def start(commands: Mapping[str, Sequence[str]]) -> dict[str, subprocess.Popen[str]]:
    """Contestants by name, each once it has said "ready": loaded, compiled and warm."""
    children = {}
    for name, command in commands.items():
        children[name] = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if children[name].stdout.readline() != "ready\n":
            raise SystemExit(f"{name} did not start")
    return children


def take(
    children: Mapping[str, subprocess.Popen[str]], rounds: int
) -> Iterator[tuple[str, list[str]]]:
    """Name and answer, as words, of each turn: every contestant once a round, in changing order."""
    for turn in range(rounds):
        for name in list(children) if turn % 2 == 0 else reversed(list(children)):
            children[name].stdin.write("go\n")
            children[name].stdin.flush()
            yield name, children[name].stdout.readline().split()
