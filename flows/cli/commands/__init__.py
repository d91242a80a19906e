"""The commands of `facenet`: each module here is one, and all are laid out alike.

A command module has a docstring whose first line is its help text, and

    NAME                       the command's name, where it is not the module's (optional)
    COMMON                     the common options that it takes (`flows.cli.options`)
    add_arguments(parser)      adds its own arguments
    check(options, settings)   raises ConfigError for what is wrong, within a second (optional)
    run(options, context)      carries it out, prints to stdout; raises FacenetError

It imports at its head only what is quick: every module is loaded for `facenet --help`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

# In the order of `facenet --help`; the others follow by name.
_FIRST = ("run", "ingest", "align", "train", "validate")


def find() -> dict[str, ModuleType]:
    """The command modules by command name: `my_command` is `my-command`."""
    modules = {module.name for module in iter_modules(__path__)}
    commands = {}
    for name in (*_FIRST, *sorted(modules.difference(_FIRST))):
        module = import_module(f"{__name__}.{name}")
        commands[getattr(module, "NAME", name.replace("_", "-"))] = module
    return commands
