"""Catalogues of what can be fetched by name: a YAML file of this project, and a site's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, TypeVar

import yaml
from pydantic import Field

from facenet_core import config, storage
from facenet_core.config import NOT_YAML, Config
from facenet_core.config.base import LARGEST_BYTES
from facenet_core.errors import ConfigError
from facenet_core.fetch.wanted import Wanted
from facenet_core.privacy import url_secrets
from facenet_core.text import files as text_files

Entry = TypeVar("Entry", bound=Config)
Digits = Annotated[str, Field(pattern=r"^[0-9a-f]+$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class CatalogueFile(Config):
    """A file: its addresses, size and digests."""

    name: FileName = Field(description="Its name in its folder of `downloads/`.")
    urls: tuple[str, ...] = Field(min_length=1, description="Its addresses, in the order to try.")
    bytes: int | None = Field(None, ge=1, le=LARGEST_BYTES, description="Its size.")
    sha256: Digits | None = Field(None, min_length=64, max_length=64, description="Its SHA-256.")
    md5: Digits | None = Field(None, min_length=32, max_length=32, description="Its MD5.")

    def wanted(self, folder: str) -> Wanted:
        """The file as one to fetch into a folder of a storage root."""
        urls = tuple(url_secrets.hide(url) for url in self.urls)
        return Wanted(storage.join(folder, self.name), urls, self.sha256, self.md5, self.bytes)


def read_entries(kind: type[Entry], package: str, own: str | None) -> dict[str, Entry]:
    """Read all entries, by name.

    Args:
        kind: what an entry is.
        package: whose `catalogue.yaml` holds the project's own.
        own: URI of a site's file, whose entries replace those of the same name.

    Raises:
        ConfigError: a file is missing or an entry is malformed; the message names the field.
    """
    entries = dict(_built_in(kind, package))
    if own:
        try:
            data = storage.read_bytes(own)
        except FileNotFoundError:
            raise ConfigError(f"{own}: no such catalogue file") from None
        entries |= _parse(kind, text_files.decode(data, own, ConfigError), own)
    return entries


@cache
def _built_in(kind: type[Entry], package: str) -> Mapping[str, Entry]:
    name = "catalogue.yaml"
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    url_secrets.publish(text)
    return _parse(kind, text, name)


def _parse(kind: type[Entry], text: str, origin: str) -> dict[str, Entry]:
    try:
        values = yaml.safe_load(text) or {}
    except NOT_YAML as error:
        raise ConfigError(f"{origin}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{origin}: expected entries by name, found {values!r:.60}")
    return {
        str(name): config.build(kind, value or {}, f"{origin}, {name}")
        for name, value in values.items()
        if not str(name).startswith(".")
    }
