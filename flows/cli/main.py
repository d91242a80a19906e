"""The command line: parses the words, runs a command, and turns errors into an exit status.

Only what a command needs is imported, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from facenet_core.errors import ConfigError, FacenetError
from flows.cli import commands
from flows.cli.context import context_of
from flows.cli.options import add_common
from flows.cli.output import echo_error, fit, print_error, show_warnings
from flows.cli.shutdown import end_in_time

_PACKAGE = "facenet-pipeline"
# Quiet and quick, unless the user's environment says otherwise.
_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
# `credentials` may be about to make the block, and `doctor` says what is wrong with it.
_WITHOUT_CREDENTIALS = ("credentials", "datasets", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 1 failed, 2 wrong usage, 130 interrupted."""
    words = [_dashes(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    try:
        options = _parse(words)
    except ConfigError as error:
        echo_error(f"facenet: {error}")
        return error.exit_status
    _prepare_environment(options.verbose)
    if arguments is None:  # the process is this command's alone
        end_in_time()
    warnings = show_warnings()
    command = commands.find()[options.command]
    try:
        context = context_of(options)
        if hasattr(command, "check"):  # all that is wrong is said here, before anything slow
            command.check(options, context.settings)
        if options.command not in _WITHOUT_CREDENTIALS:
            context.use_credentials()
        command.run(options, context)
    except FacenetError as error:
        print_error(error, options.debug)
        return error.exit_status
    except KeyboardInterrupt:
        echo_error("facenet: interrupted; the same command continues from here")
        return 130
    except Exception as error:  # nobody should meet a traceback without asking for it
        print_error(error, options.debug)
        return 1
    finally:
        logging.getLogger("facenet_core").removeHandler(warnings)
    return 0


class _Parser(argparse.ArgumentParser):
    """Repeats wrong options as far as they are fit for a terminal."""

    def error(self, message: str) -> NoReturn:
        super().error(fit(message))


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="facenet",
        description="From face photographs to a validated face-embedding model.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version(_PACKAGE)}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in commands.find().items():
        text = (command.__doc__ or name).splitlines()[0]
        subparser = subparsers.add_parser(
            name, help=text, description=text[0].upper() + text[1:], allow_abbrev=False
        )
        add_common(subparser, command.COMMON)
        command.add_arguments(subparser)
    if words and not words[0].startswith("-") and words[0] not in subparsers.choices:
        hint = _hint(words[0], list(subparsers.choices), "facenet --help")
        raise ConfigError(f"unknown command {words[0]}; {hint}")
    options, unknown = parser.parse_known_args(words)
    if unknown:
        accepted = list(subparsers.choices[options.command]._option_string_actions)
        option = unknown[0].partition("=")[0]
        hint = _hint(option, accepted, f"facenet {options.command} --help")
        raise ConfigError(f"unknown option {unknown[0]}; {hint}")
    return options


def _hint(word: str, accepted: list[str], help_command: str) -> str:
    nearest = difflib.get_close_matches(word, accepted, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"see `{help_command}`"


def _dashes(word: str) -> str:
    """`--image_size` and `--image-size` are the same option."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _prepare_environment(verbose: bool) -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "PREFECT_LOGGING_SETTINGS_PATH" not in os.environ:
        # Prefect's default. Said here, because `.env` or `prefect.toml` of the working folder could
        # name another file, and a file that configures logging calls whatever it likes.
        home = os.path.expanduser(os.environ.get("PREFECT_HOME") or "~/.prefect")
        os.environ.setdefault("PREFECT_LOGGING_CONFIG_PATH", os.path.join(home, "logging.yml"))
    if not verbose:
        # Errors reach the terminal as one message, not through Prefect's log with its tracebacks.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
