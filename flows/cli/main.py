"""The command line: `facenet run | ingest | align | train | validate`, and `flows/commands`.

Every option of a stage is a field of its configuration. Only what a command needs is imported, so
that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, NoReturn, get_args

import yaml

from facenet_core import config as conf
from facenet_core.errors import ConfigError, FacenetError
from facenet_core.privacy import url_secrets
from facenet_core.text import files
from flows.cli import checks
from flows.cli import commands as tools
from flows.cli.option_types import block_name
from flows.cli.shutdown import end_in_time
from flows.cli.terminal import Warnings, echo_error, echo_json, fit

_PACKAGE = "facenet-pipeline"
STAGES: dict[str, tuple[type[conf.Config], list[tuple[str, str]], str]] = {
    "ingest": (
        conf.IngestConfig,
        [("source", "a data set's name, folder, archive, URL, bucket, table, list, `synthetic`")],
        "photographs into raw shards",
    ),
    "align": (
        conf.AlignConfig,
        [("raw", "URI of a raw artifact, or a folder or archive of photographs")],
        "find, crop and scale faces",
    ),
    "train": (
        conf.TrainConfig,
        [("crops", "URI of a crops artifact")],
        "train an embedding model on crops",
    ),
    "validate": (
        conf.ValidateConfig,
        [
            ("crops", "URI of a crops artifact, or an InsightFace verification set (.bin)"),
            ("model", "a model: an artifact, a .keras file, TensorFlow 1; two are compared"),
        ],
        "measure a model on pairs of faces",
    ),
}
# The common options that not every command takes; what is not here is for all of them.
_RECOGNITION = ("classify", "cluster", "compare", "embed", "export")
_ROOT = ("run", *STAGES, *_RECOGNITION, "doctor", "import-tf1", "pairs", "storage")
_TAKEN_BY = {
    "config": (*_ROOT, "datasets", "inspect"),
    "overrides": ("run", *STAGES),
    "storage": _ROOT,
    "storage_credentials": (*_ROOT, "inspect"),
    "workers": ("run", "ingest", "align"),
    "dask_address": ("run", "ingest", "align", "doctor"),
    "verbose": ("run", *STAGES, "credentials"),
}
# Quiet and quick, unless the user's environment says otherwise.
_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


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
    warnings = _show_warnings()
    try:
        settings = _settings(options)  # all that is wrong is said here, before anything slow
        _use_credentials(options, settings)
        if tool := tools.find().get(options.command):
            tool.run(options, settings)
        else:
            _print_result(_run(options, settings), options)
    except FacenetError as error:
        _print_error(error, options.debug)
        return error.exit_status
    except KeyboardInterrupt:
        echo_error("facenet: interrupted; the same command continues from here")
        return 130
    except Exception as error:  # nobody should meet a traceback without asking for it
        _print_error(error, options.debug)
        return 1
    finally:
        logging.getLogger("facenet_core").removeHandler(warnings)
    return 0


def _settings(options: argparse.Namespace) -> conf.PipelineConfig:
    """The configuration, with what was given as options put in.

    Raises:
        ConfigError: a value is wrong, or something is missing.
    """
    settings = conf.load(options.config, options.overrides)
    _strip_addresses(options, settings)
    runs_on = {name: getattr(options, name) for name in ("workers", "dask_address")}
    given = {name: value for name, value in runs_on.items() if value is not None}
    cluster = _merged(settings.cluster, given)
    changes: dict[str, Any] = {
        "cluster": cluster,
        "storage": options.storage or settings.storage,
        "storage_credentials": options.storage_credentials or settings.storage_credentials,
    }
    checks.check_section(cluster)
    if options.command == "run":
        checks.check_pipeline(settings)
    elif options.command in STAGES:
        section = _section(options.command)
        changes[section] = stage = _merged(getattr(settings, section), vars(options))
        checks.check_section(stage)
    options.check(options)
    return settings.model_copy(update=changes)


def _section(command: str) -> str:
    return "validation" if command == "validate" else command


def _run(options: argparse.Namespace, settings: conf.PipelineConfig) -> Any:
    """Carry out `run` or a stage; returns a StageSummary or a PipelineSummary."""
    from tasks.prefect import server

    server.start()  # it comes up while the stage's libraries are imported
    call = _stage(options, settings)
    server.wait()
    return call()


def _stage(options: argparse.Namespace, settings: conf.PipelineConfig) -> Callable[[], Any]:
    """The call of the flow that carries out `run` or a stage, which is imported here."""
    if options.command == "run":
        from flows.pipeline import pipeline

        return partial(pipeline, settings)
    stage = getattr(settings, _section(options.command))
    root, cluster = settings.storage, settings.cluster
    credentials = settings.storage_credentials
    if options.command == "ingest":
        from flows.ingest import ingest

        return partial(ingest, stage, root, cluster, credentials)
    if options.command == "align":
        from flows.align import align

        return partial(align, options.raw, stage, root, cluster, options.export, credentials)
    if options.command == "train":
        from flows.train import train

        return partial(train, options.crops, stage, root, credentials)
    from flows.validate import compare, validate

    if len(options.model) == 2:
        return partial(compare, options.crops, *options.model, stage, root, credentials)
    return partial(validate, options.crops, options.model[0], stage, root, credentials)


def _merged(section: conf.Config, options: Mapping[str, Any]) -> Any:
    """A section of the configuration, with the fields given as options put in."""
    # Only what was given: what was not may follow from another field, as after --resume.
    values = section.model_dump(exclude_unset=True)
    given = {k: v for k, v in options.items() if k in type(section).model_fields}
    return conf.build(type(section), {**values, **given}, "the command line")


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
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run", help="the whole pipeline", allow_abbrev=False, description="The whole pipeline."
    )
    _add_common(run, "run")
    for name, (model, inputs, text) in STAGES.items():
        command = commands.add_parser(
            name, help=text, description=f"{text.capitalize()}.", allow_abbrev=False
        )
        for positional, help_text in inputs:
            several = {"nargs": "+"} if positional == "model" else {}
            command.add_argument(positional, metavar=positional.upper(), help=help_text, **several)
        if name == "validate":
            command.set_defaults(check=_check_models)
        if name == "align":
            text = "also write the crops as a folder of images, with bounding_boxes_*.txt"
            command.add_argument("--export", metavar="DIR", help=text)
        _add_common(command, name)
        _add_fields(command, model, {positional for positional, _ in inputs})
    for name, tool in tools.find().items():
        text = (tool.__doc__ or name).splitlines()[0]
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        tool.add_arguments(command)
        _add_common(command, name)
    if words and not words[0].startswith("-") and words[0] not in commands.choices:
        nearest = difflib.get_close_matches(words[0], list(commands.choices), n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "see `facenet --help`"
        raise ConfigError(f"unknown command {words[0]}; {hint}")
    options, unknown = parser.parse_known_args(words, argparse.Namespace(check=_accept))
    if unknown:
        raise ConfigError(_explain_unknown(unknown[0], options.command, commands))
    return options


def _accept(options: argparse.Namespace) -> None:
    """Whatever the parser let through is good."""


def _check_models(options: argparse.Namespace) -> None:
    if len(options.model) > 2:
        raise ConfigError(f"{len(options.model)} models; one is measured, two are compared")


def _add_common(parser: argparse.ArgumentParser, command: str) -> None:
    """The options that many commands share: those that do something for this one."""
    group = parser.add_argument_group("where and how it runs")
    parser.set_defaults(**{**dict.fromkeys(_TAKEN_BY), "overrides": [], "verbose": False})

    def add(option: str, **settings: Any) -> None:
        name = settings.get("dest", option.removeprefix("--").replace("-", "_"))
        if command in _TAKEN_BY.get(name, (command,)):
            group.add_argument(option, **settings)

    text = "configuration file (YAML), or a name: demo, casia, real"
    add("--config", metavar="FILE", help=text)
    add(
        "--set",
        dest="overrides",
        action="append",
        metavar="SECTION.FIELD=VALUE",
        help="override one field of the configuration",
    )
    add("--storage", metavar="URI", help="storage root; default: ./facenet-store")
    add(
        "--storage-credentials",
        type=block_name,
        metavar="NAME",
        help="Prefect block with its credentials",
    )
    add("--workers", type=_value, metavar="N", help="local Dask workers")
    add("--dask-address", metavar="URI", help="an existing Dask scheduler")
    add("--json", action="store_true", help="print one JSON object")
    add("--verbose", action="store_true", help="show Prefect's log")
    add("--debug", action="store_true", help="show tracebacks")


def _add_fields(
    parser: argparse.ArgumentParser, model: type[conf.Config], positional: set[str]
) -> None:
    group = parser.add_argument_group("options (fields of the configuration)")
    for name, field in model.model_fields.items():
        if name in positional:
            continue
        option = "--" + name.replace("_", "-")
        default = "" if field.default is None else f" [{_shown(field.default)}]"
        text = ((field.description or "") + default).replace("%", "%%")
        settings: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text}
        if field.annotation is bool:
            settings["action"] = argparse.BooleanOptionalAction
        else:
            settings["type"] = _value
            settings["metavar"] = name.split("_")[-1].upper()
            if isinstance(field.default, tuple):
                parts = get_args(field.annotation)
                settings["nargs"] = "+" if Ellipsis in parts else len(parts)
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        also = [str(extra["option"])] if "option" in extra else []
        group.add_argument(option, *also, **settings)


def _value(text: str) -> Any:
    """An option's text as YAML would read it, so that the command line and files agree."""
    try:
        value = yaml.safe_load(text)
    except conf.NOT_YAML:
        return text
    return value if isinstance(value, int | float | bool) or value is None else text


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _dashes(word: str) -> str:
    """`--image_size` and `--image-size` are the same option."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _explain_unknown(word: str, command: str, commands: Any) -> str:
    known: Callable[[str], Any] = commands.choices[command]._option_string_actions
    nearest = difflib.get_close_matches(word.partition("=")[0], list(known), n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"see `facenet {command} --help`"
    return f"unknown option {word}; {hint}"


def _strip_addresses(options: argparse.Namespace, settings: conf.PipelineConfig) -> None:
    """Take what is secret out of all options, before anything records or prints them.

    Raises:
        ConfigError: a URI of a store has keys in it; or a name is not UTF-8 and could not be
            recorded at all.
    """

    def recordable(text: str) -> str:
        files.require_utf8(text)
        return url_secrets.hide(text)

    url_secrets.in_depth(recordable, settings.model_dump())
    for name, value in vars(options).items():
        if name not in ("config", "overrides"):  # read already
            setattr(options, name, url_secrets.in_depth(recordable, value))


# `credentials` may be about to make the block, and `doctor` says what is wrong with it.
_WITHOUT_CREDENTIALS = ("credentials", "datasets", "doctor")


def _use_credentials(options: argparse.Namespace, settings: conf.PipelineConfig) -> None:
    """Put the credentials of the block that is named, if one is, into the environment."""
    name = settings.storage_credentials or os.environ.get("FACENET_STORAGE_CREDENTIALS")
    if not name or options.command in _WITHOUT_CREDENTIALS:
        return
    from tasks.prefect import server

    server.start()
    from tasks.prefect import credentials

    server.wait()
    credentials.use(name)


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


def _show_warnings() -> logging.Handler:
    """Let the library's warnings reach the terminal; returns what does it."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(Warnings())
    logging.getLogger("facenet_core").addHandler(handler)
    return handler


def _print_error(error: Exception, debug: bool) -> None:
    if debug:
        echo_error("".join(traceback.format_exception(error)))
    name = "" if isinstance(error, FacenetError) else f"{type(error).__name__}: "
    echo_error(f"facenet: {name}{error}")
    if not isinstance(error, FacenetError) and not debug:
        echo_error("facenet: run it with --debug for the traceback")


def _print_result(result: Any, options: argparse.Namespace) -> None:
    from flows.cli import output

    if options.json:
        echo_json(output.as_json(result))
        return
    output.print_table(result)


if __name__ == "__main__":
    sys.exit(main())
