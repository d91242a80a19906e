"""Commands that are not stages: each module here is one, named as the module.

A command module has a docstring whose first line is its help text, and

    NAME                       the command's name, where it is not the module's
    add_arguments(parser)      its arguments, beside the common ones; the default `check`, if it
                               sets one, is called with the options before anything slow begins
    run(options, settings)     carries it out, prints to stdout; raises FacenetError

It imports at its head only what is quick: every module is loaded for `facenet --help`.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Protocol

from facenet_core.config import PipelineConfig


class Command(Protocol):
    """What a module of this package offers."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace, settings: PipelineConfig) -> None: ...


def find() -> dict[str, Command]:
    """The command modules by command name: `import_tf1` is `import-tf1`."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {_name(module): module for module in modules}  # type: ignore


def _name(module: ModuleType) -> str:
    last = module.__name__.rpartition(".")[2]
    return getattr(module, "NAME", last.replace("_", "-"))
