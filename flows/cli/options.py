"""The options that commands share, and the types of options: wrong ones are refused at once."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, get_args

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from facenet_core import config as conf
from facenet_core.errors import ConfigError

# Names of common options (`COMMON` of a command): --json and --debug are for all commands.
ROOT = ("config", "storage", "storage_credentials")
STAGE = (*ROOT, "overrides", "verbose")


def add_common(parser: argparse.ArgumentParser, names: Collection[str]) -> None:
    """Add the common options of these names, and those that every command takes."""
    group = parser.add_argument_group("where and how it runs")
    parser.set_defaults(
        config=None,
        overrides=[],
        storage=None,
        storage_credentials=None,
        verbose=False,
        section=None,
    )

    def add(option: str, **settings: Any) -> None:
        name = settings.get("dest", option.removeprefix("--").replace("-", "_"))
        if name in ("json", "debug", *names):
            group.add_argument(option, **settings)

    text = "configuration file (YAML), or a name: demo, casia, real, student"
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
    fields = {"default": argparse.SUPPRESS}  # of the section `cluster`
    add("--workers", type=yaml_value, metavar="N", help="local Dask workers", **fields)
    add("--dask-address", metavar="URI", help="an existing Dask scheduler", **fields)
    text = "Dask workers that share the training"
    add("--train-workers", type=yaml_value, metavar="N", help=text, **fields)
    add("--json", action="store_true", help="print one JSON object")
    add("--verbose", action="store_true", help="show Prefect's log")
    add("--debug", action="store_true", help="show tracebacks")


def add_fields(
    parser: argparse.ArgumentParser,
    section: str,
    model: type[conf.Config],
    positional: Collection[str] = (),
) -> None:
    """Add an option for each field of a section of the configuration, except `positional` ones."""
    parser.set_defaults(section=section)
    group = parser.add_argument_group("options (fields of the configuration)")
    for name, field in model.model_fields.items():
        if name not in positional:
            default = "" if field.default is None else f" [{_as_words(field.default)}]"
            _add_field(group, name, field, default)


def add_alignment(parser: argparse.ArgumentParser) -> None:
    """Add how photographs are cropped for a model, where that is not as its crops are made."""
    group = parser.add_argument_group("photographs that are aligned first")
    for name in ("image_size", "margin"):
        default = " [as the model's crops]; other fields of the stage: --set align.FIELD=VALUE"
        _add_field(group, name, conf.AlignConfig.model_fields[name], default)


def _add_field(group: argparse._ArgumentGroup, name: str, field: FieldInfo, default: str) -> None:
    text = ((field.description or "") + default).replace("%", "%%")
    settings: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text}
    if field.annotation is bool:
        settings["action"] = argparse.BooleanOptionalAction
    else:
        settings["type"] = yaml_value
        settings["metavar"] = name.split("_")[-1].upper()
        if isinstance(field.default, tuple):
            parts = get_args(field.annotation)
            settings["nargs"] = "+" if Ellipsis in parts else len(parts)
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    aliases = [str(extra["option"])] if "option" in extra else []
    group.add_argument("--" + name.replace("_", "-"), *aliases, **settings)


def yaml_value(text: str) -> Any:
    """An option's text as YAML would read it, so that the command line and files agree."""
    try:
        value = yaml.safe_load(text)
    except conf.NOT_YAML:
        return text
    return value if isinstance(value, int | float | bool) or value is None else text


def whole(**bounds: int) -> Callable[[str], Any]:
    """An int within `bounds` (ge, gt, le, lt)."""
    return _reader(TypeAdapter(Annotated[int, Field(**bounds)]))


def real(**bounds: float) -> Callable[[str], Any]:
    """A finite float within `bounds` (ge, gt, le, lt)."""
    finite = Field(allow_inf_nan=False, **bounds)  # type: ignore[call-overload]
    return _reader(TypeAdapter(Annotated[float, finite]))


def block_name(text: str) -> str:
    """The name of a Prefect block."""
    if re.fullmatch("[a-z0-9-]+", text) is None:
        raise argparse.ArgumentTypeError(
            f"invalid block name {text}; expected small letters, digits and dashes"
        )
    return text


def ending_in(*endings: str) -> Callable[[str], str]:
    """The type of an option that names a file to write: its ending says what is written.

    Raises:
        ConfigError: when it is parsed and has another ending.
    """

    def check(name: str) -> str:
        if not name.lower().endswith(endings):
            raise ConfigError(f"{name}: expected a name that ends in {' or '.join(endings)}")
        return name

    return check


def check_path(name: str, path: str | None) -> None:
    """Raises ConfigError where `path`, if given, is no URI and does not exist."""
    if path and "://" not in path and not os.path.lexists(os.path.expanduser(path)):
        raise ConfigError(f"{name}: {path}: no such file or folder")


def check_input(name: str, reference: str) -> None:
    """Raises ConfigError where an input looks like a path and does not exist; it may be a name."""
    if "/" in reference:
        check_path(name, reference)


def _reader(adapter: TypeAdapter[Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"{error.errors()[0]['msg']} (got {text})") from None

    return read


def _as_words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
