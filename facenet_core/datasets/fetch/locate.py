"""Locate a source: a name of the catalogue, a URL, or a path that exists."""

from __future__ import annotations

import difflib
import hashlib
import posixpath
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from facenet_core import storage
from facenet_core.config import IngestConfig
from facenet_core.datasets.fetch.catalogue import CatalogueEntry, read_catalogue
from facenet_core.datasets.sources.archive import EXTENSIONS
from facenet_core.errors import SourceError
from facenet_core.fetch.wanted import DOWNLOADS, Wanted
from facenet_core.privacy import url_secrets

_DATA_EXTENSIONS = (".parquet", ".rec", ".csv", ".tsv")
EXPECTED = (
    "a folder, an archive (.tar, .tgz, .tar.bz2, .tar.xz, .tar.zst, .zip), Parquet, InsightFace's "
    ".rec, a list (.csv, .tsv) of path and identity"
)


@dataclass(frozen=True)
class Origin:
    """The URI of a source, once `files` are fetched, and the URI that a manifest records."""

    uri: str
    public_uri: str
    name: str
    files: tuple[Wanted, ...] = ()
    identity_pattern: str | None = None


def locate(root: str, config: IngestConfig) -> Origin:
    """Locate the source of a configuration. Reads nothing but the catalogue.

    An existing file or folder takes precedence over the catalogue's data set of that name.

    Raises:
        SourceError: a data set that cannot be fetched, and the message says how it is obtained; or
            a local path where nothing is.
    """
    source = config.source
    if source.lower().startswith("file://"):
        source = storage.absolute(source)
    if storage.is_local(source):
        if not storage.exists(source):
            catalogue = read_catalogue(config.catalogue)
            if source in catalogue:
                return _catalogued(root, config, source, catalogue[source])
            if nearest := difflib.get_close_matches(source, catalogue, n=1, cutoff=0.75):
                raise SourceError(
                    f"{source}: no such folder or archive, and no data set of that name; did you "
                    f"mean `{nearest[0]}`?"
                )
            raise SourceError(nothing_at(storage.absolute(source)))
    elif storage.is_address(source):
        return _fetched(root, config, source)
    name = config.name or name_of(source)
    uri = storage.absolute(url_secrets.whole(source))
    return Origin(uri, url_secrets.public(uri), name, identity_pattern=config.identity_pattern)


def nothing_at(uri: str) -> str:
    """The message that there is nothing at the path or URI of a source."""
    return (
        f"{uri}: no such folder or archive; expected {EXPECTED}, the name of a data set "
        "(`facenet datasets` lists them), or `synthetic`"
    )


def _catalogued(root: str, config: IngestConfig, name: str, entry: CatalogueEntry) -> Origin:
    if entry.archive is None:
        raise SourceError(f"{name}: {entry.title} has no open download. {entry.obtain}".rstrip())
    folder = storage.join(root, DOWNLOADS, name)
    files = tuple(file.wanted(folder) for file in (entry.archive, *entry.files))
    pattern = config.identity_pattern or entry.identity_pattern
    return Origin(files[0].uri, files[0].urls[0], config.name or name, files, pattern)


def _fetched(root: str, config: IngestConfig, url: str) -> Origin:
    file_name = posixpath.basename(unquote(urlsplit(url).path)) or "download"
    name = config.name or name_of(file_name)
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    folder = f"{name_of(file_name)}-{digest}"
    file = Wanted(storage.join(root, DOWNLOADS, folder, file_name), (url,))
    return Origin(file.uri, url, name, (file,), config.identity_pattern)


def name_of(source: str) -> str:
    """A data set's name from its source: `/data/lfw.tar.gz` is `lfw`."""
    name = posixpath.basename(source.rstrip("/")) or Path(source).absolute().name
    for extension in sorted((*EXTENSIONS, *_DATA_EXTENSIONS), key=len, reverse=True):
        if name.lower().endswith(extension):
            name = name[: -len(extension)]
            break
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    return clean.strip(".-_") or "photographs"
