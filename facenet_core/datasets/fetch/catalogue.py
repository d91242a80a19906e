"""The catalogue of known data sets: the project's own file, and a site's beside it."""

from __future__ import annotations

import os

from pydantic import Field, model_validator

from facenet_core.config import Config
from facenet_core.config.base import LARGEST_BYTES
from facenet_core.fetch.catalogue import CatalogueFile, read_entries


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
    return read_entries(CatalogueEntry, __package__, own or os.environ.get("FACENET_CATALOGUE"))
