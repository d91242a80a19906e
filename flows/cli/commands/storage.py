"""what a storage root holds, whether it is whole, what may go, who must be forgotten

facenet storage ls                      artifacts with state, counts, size, and what they are from
facenet storage du                      bytes by stage and artifact
facenet storage verify [URI…]           every part against its manifest
facenet storage gc [URI…]               what may go; --yes removes it
facenet storage forget --identity NAME  take a person out for good; --yes does it
"""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

from facenet_core.config import PipelineConfig
from facenet_core.errors import ConfigError
from facenet_core.storage import STAGE_FOLDERS
from flows.cli import options as common
from flows.cli.context import Context

COMMON = common.ROOT
_ACTIONS = ("ls", "du", "verify", "gc", "forget")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# Which actions an option goes with.
_GOES_WITH = {
    "stage": ("ls", "du", "verify"),
    "tree": ("ls",),
    "set_aside": ("verify",),
    "older_than": ("gc",),
    "unfinished_older_than": ("gc",),
    "yes": ("gc", "forget"),
    "identity": ("forget",),
    "delete_affected": ("forget",),
    "uris": ("ls", "verify", "gc"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (__doc__ or "").strip()
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument(
        "uris", nargs="*", metavar="URI", help="artifacts of this root; default: all (gc: none)"
    )
    parser.add_argument(
        "--stage", choices=[*STAGE_FOLDERS], help="ls, du, verify: of one stage alone"
    )
    parser.add_argument("--tree", action="store_true", help="ls: each below what it was made from")
    parser.add_argument(
        "--set-aside",
        action="store_true",
        help="verify: remove damaged parts and the manifest, so that the stage makes them again",
    )
    parser.add_argument(
        "--older-than", metavar="AGE", help="gc: also finished artifacts, such as 30d, 12h, 8w"
    )
    parser.add_argument(
        "--unfinished-older-than",
        metavar="AGE",
        help="gc: unfinished folders that nothing was written to for so long [7d]",
    )
    parser.add_argument("--yes", action="store_true", help="gc, forget: do it, do not only say")
    parser.add_argument("--identity", metavar="NAME", help="forget: name of the person")
    parser.add_argument(
        "--delete-affected",
        action="store_true",
        help="forget: also remove the models, reports and audits that have to do with the person",
    )


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    for name, actions in _GOES_WITH.items():
        if getattr(options, name) and options.action not in actions:
            word = "URI" if name == "uris" else "--" + name.replace("_", "-")
            raise ConfigError(f"{word}: goes with {' and '.join(actions)}, not {options.action}")
    if options.action == "forget" and options.identity is None:
        raise ConfigError("forget: whom? Give --identity NAME, as `facenet inspect` shows it")
    age_of(options.older_than)
    age_of(options.unfinished_older_than)


def run(options: argparse.Namespace, context: Context) -> None:
    from flows.cli import storage_actions

    root, as_json, yes = context.root, context.json, options.yes
    if options.action == "ls":
        storage_actions.list_artifacts(root, options.uris, options.stage, options.tree, as_json)
    elif options.action == "du":
        storage_actions.list_sizes(root, options.stage, as_json)
    elif options.action == "verify":
        storage_actions.verify(root, options.uris, options.stage, options.set_aside, as_json)
    elif options.action == "gc":
        ages = (age_of(options.older_than), age_of(options.unfinished_older_than))
        storage_actions.collect(root, options.uris, *ages, yes, as_json)
    else:
        storage_actions.forget(root, options.identity, yes, options.delete_affected, as_json)


def age_of(text: str | None) -> timedelta | None:
    """`7d`, `12h`, `90m`, `8w` or a number of days.

    Raises:
        ConfigError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([mhdw]?)", text.strip())
    if match is None:
        raise ConfigError(f"{text}: invalid age; expected a number and m, h, d or w, such as 7d")
    return timedelta(**{_UNITS[match[2] or "d"]: float(match[1])})
