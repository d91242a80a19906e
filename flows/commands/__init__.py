"""Commands that are not stages: each module here is one, named as the module.

A command module has a docstring whose first line is its help text, and

    add_arguments(parser)      its arguments, beside the common ones; the default `check`, if it
                               sets one, is called with the options before anything slow begins
    run(options, settings)     carries it out, prints to stdout; raises FacenetError

It imports at its head only what is quick: every module is loaded for `facenet --help`.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol

from facenet_core.config import PipelineConfig


class Command(Protocol):
    """What a module of this package offers."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace, settings: PipelineConfig) -> None: ...


def find() -> dict[str, Command]:
    """The command modules by command name: `import_tf1` is `import-tf1`."""
    return {
        module.name.replace("_", "-"): import_module(f"{__name__}.{module.name}")  # type: ignore
        for module in iter_modules(__path__)
    }
