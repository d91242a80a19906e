"""The catalogue of known data sets: the project's own file, and a site's beside it."""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import Field, model_validator

from facenet_core import config, storage
from facenet_core.config import NOT_YAML, Config
from facenet_core.config.base import LARGEST_BYTES
from facenet_core.errors import ConfigError
from facenet_core.text import files as text_files

_FILE = "catalogue.yaml"

Digits = Annotated[str, Field(pattern=r"^[0-9a-f]+$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class CatalogueFile(Config):
    """A file of a data set: its addresses, size and digests."""

    name: FileName = Field(description="Its name under `downloads/` of the storage root.")
    urls: tuple[str, ...] = Field(min_length=1, description="Its addresses, in the order to try.")
    bytes: int | None = Field(None, ge=1, le=LARGEST_BYTES, description="Its size.")
    sha256: Digits | None = Field(None, min_length=64, max_length=64, description="Its SHA-256.")
    md5: Digits | None = Field(None, min_length=32, max_length=32, description="Its MD5.")


class CatalogueEntry(Config):
    """A data set."""

    title: str = Field(description="Its full name.")
    people: int | None = Field(None, ge=1, le=LARGEST_BYTES, description="Identities.")
    images: int | None = Field(None, ge=1, le=LARGEST_BYTES, description="Images.")
    size: str = Field("", description="How large the download is, for people to read.")
    licence: str = Field("", description="What it may be used for, as its makers say.")
    home: str = Field("", description="The page of its makers.")
    obtain: str = Field("", description="Without a download: how one gets it, and ingests it.")
    archive: CatalogueFile | None = Field(None, description="The photographs.")
    files: tuple[CatalogueFile, ...] = Field((), description="Pairs and other files beside them.")
    identity_pattern: str | None = Field(None, description="See `ingest.identity_pattern`.")

    @model_validator(mode="after")
    def _can_be_had(self) -> CatalogueEntry:
        if self.archive is None and not self.obtain:
            raise ValueError("needs `archive`, or `obtain` to say how one gets it")
        return self


def read_catalogue(own: str | None = None) -> dict[str, CatalogueEntry]:
    """Read all data sets, by name.

    Args:
        own: a file with data sets of a site, which replace those of the same name; default:
            $FACENET_CATALOGUE.

    Raises:
        ConfigError: a file is missing or an entry is malformed; the message names the field.
    """
    entries = dict(_built_in())
    uri = own or os.environ.get("FACENET_CATALOGUE")
    if uri:
        try:
            data = storage.read_bytes(uri)
        except FileNotFoundError:
            raise ConfigError(f"{uri}: no such catalogue file") from None
        entries |= _parse(text_files.decode(data, uri, ConfigError), uri)
    return entries


@cache
def _built_in() -> dict[str, CatalogueEntry]:
    return _parse(files(__package__).joinpath(_FILE).read_text(encoding="utf-8"), _FILE)


def _parse(text: str, origin: str) -> dict[str, CatalogueEntry]:
    try:
        values = yaml.safe_load(text) or {}
    except NOT_YAML as error:
        raise ConfigError(f"{origin}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{origin}: expected names of data sets, found {values!r:.60}")
    return {
        str(name): config.build(CatalogueEntry, value or {}, f"{origin}, {name}")
        for name, value in values.items()
        if not str(name).startswith(".")
    }
