"""What every command is run with: the configuration, with the options of the command line in it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from facenet_core import config as conf
from facenet_core import storage
from facenet_core.errors import ConfigError
from facenet_core.privacy import url_secrets
from facenet_core.text import files
from tasks.prefect import server


@dataclass(frozen=True)
class Context:
    """What a command is run with, beside its own arguments.

    Attributes:
        settings: the whole configuration; what was given as options replaces what the file says.
        json: print one JSON object instead of text.
    """

    settings: conf.PipelineConfig
    json: bool = False

    @property
    def root(self) -> str:
        """The storage root, absolute."""
        return storage.absolute(self.settings.storage or storage.default_root())

    def use_credentials(self) -> None:
        """Put the credentials of the block that is named, if one is, into the environment."""
        name = self.settings.storage_credentials or os.environ.get("FACENET_STORAGE_CREDENTIALS")
        if name:
            with server.starting():
                from tasks.prefect import credentials
            credentials.use(name)


def context_of(options: argparse.Namespace) -> Context:
    """The context of a command with these options.

    Raises:
        ConfigError: a value is wrong, or something is missing.
    """
    settings = conf.load(options.config, options.overrides)
    _hide_secrets(options, settings)
    changes: dict[str, Any] = {
        "cluster": _merged(settings.cluster, vars(options)),
        "storage": options.storage or settings.storage,
        "storage_credentials": options.storage_credentials or settings.storage_credentials,
    }
    _check_cluster(changes["cluster"])
    if options.section is not None:
        changes[options.section] = _merged(getattr(settings, options.section), vars(options))
    return Context(settings.model_copy(update=changes), options.json)


def alignment_of(options: argparse.Namespace, settings: conf.PipelineConfig) -> conf.AlignConfig:
    """How photographs are aligned for a model, as far as the command says: the fields that are set.

    Those of the photographs to validate on come first, as in `facenet run`.
    """
    holdout = settings.holdout.align if settings.holdout is not None else None
    # A switch that is off was not given.
    values = {name: value for name, value in vars(options).items() if value is not False}
    return _merged(holdout or settings.align, values)


def _merged(section: conf.Config, options: Mapping[str, Any]) -> Any:
    """A section of the configuration, with the fields given as options put in."""
    # Only what was given: what was not may follow from another field, as after --resume.
    values = section.model_dump(exclude_unset=True)
    fields = type(section).model_fields
    values |= {name: value for name, value in options.items() if name in fields}
    return conf.build(type(section), values, "the command line")


def _check_cluster(config: conf.ClusterConfig) -> None:
    if config.memory_limit != "auto":
        from dask.utils import parse_bytes

        try:
            parse_bytes(config.memory_limit)
        except ValueError as error:
            raise ConfigError(f"memory_limit: {error}; expected auto or such as 4GiB") from None
    if config.cluster_class is not None and not find_spec(config.cluster_class.split(".")[0]):
        raise ConfigError(
            f"cluster_class: {config.cluster_class}: its package is not installed here"
        )


def _hide_secrets(options: argparse.Namespace, settings: conf.PipelineConfig) -> None:
    """Replace the secrets in all URLs among the options, before anything records or prints them.

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
