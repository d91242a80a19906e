"""Reading a configuration file, with overrides from the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from facenet_core.config.base import (
    AUTO_PAIRS,
    GENERATED_PAIRS,
    NOT_YAML,
    SYNTHETIC,
    Config,
    build,
    field_model,
)
from facenet_core.config.pipeline import PipelineConfig
from facenet_core.errors import ConfigError
from facenet_core.text import files

# In a checkout and where the wheel is installed alike: `demo`, `casia`, `real`, `student`.
SHIPPED = Path(__file__).parents[2] / "configs"
_WORDS = (SYNTHETIC, GENERATED_PAIRS, AUTO_PAIRS)


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read a configuration file and apply overrides such as `train.max_nrof_epochs=3`.

    Relative paths in the file are relative to the file's folder; those of overrides to the working
    folder. Without a path, the defaults.

    Args:
        path: a file, or the name of one that comes with the package, such as `demo`. Relative
            paths in such a file that do not exist beside it are relative to the working folder.

    Raises:
        ConfigError: the file is missing, not YAML, or a field is unknown or has a wrong value.
    """
    values: dict[str, Any] = {}
    origin = "the command line"
    if path is not None:
        origin = str(path)
        file = _shipped(path) or Path(path)
        values = _read_yaml(file)
        beside = file.absolute().parent
        _anchor_paths(values, PipelineConfig, beside, only_existing=_shipped(path) is not None)
    for override in overrides:
        _apply_override(values, override)
    return build(PipelineConfig, values, origin)


def _shipped(path: str | Path) -> Path | None:
    """The file of a configuration that comes with the package, if `path` is its name."""
    file = SHIPPED / f"{path}.yaml"
    named = re.fullmatch(r"[\w-]+", str(path)) and not Path(path).exists()
    return file if named and file.is_file() else None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(files.decode(path.read_bytes(), str(path), ConfigError))
    except FileNotFoundError:
        names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        hint = f"; those of the package are {names}" if names else ""
        raise ConfigError(f"{path}: no such configuration file{hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as a configuration file: {error}") from None
    except NOT_YAML as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections such as `train:`, found {values!r:.60}")
    return {
        key: {} if value is None and key != "storage" else value for key, value in values.items()
    }


def _anchor_paths(
    values: dict[str, Any], model: type[Config], folder: Path, only_existing: bool
) -> None:
    """Make relative paths in `values` absolute, in place."""
    for key, value in values.items():
        nested = field_model(model, [key])
        if nested is not None and isinstance(value, dict):
            _anchor_paths(value, nested, folder, only_existing)
            continue
        field = model.model_fields.get(key)
        extra = field.json_schema_extra if field is not None else None
        is_path = isinstance(extra, dict) and extra.get("path")
        if is_path and isinstance(value, str) and not _is_name(value, folder):
            anchored = (folder / Path(value).expanduser()).absolute()
            if anchored.exists() or not only_existing:
                values[key] = str(anchored)


def _is_name(value: str, folder: Path) -> bool:
    """Whether a value is not a relative path: absolute, or the bare name of a data set."""
    if re.fullmatch(r"(newest:|promoted:)?[\w-]+", value) and not (folder / value).exists():
        return True
    return "://" in value or value in _WORDS or Path(value).is_absolute()


def _apply_override(values: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted.strip():
        raise ConfigError(f"--set {override}: expected section.field=value")
    *parents, name = dotted.strip().replace("-", "_").split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: `{parent}` is not a section")
    try:
        values[name] = yaml.safe_load(text)
    except NOT_YAML as error:
        raise ConfigError(f"--set {override}: not a valid value: {error}") from None
