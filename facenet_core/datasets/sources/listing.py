"""A list of images: CSV or TSV lines of path and identity."""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from facenet_core import storage
from facenet_core.datasets.members import Fingerprint, Item, Limits, Member, Unreadable
from facenet_core.datasets.memo import Memo
from facenet_core.datasets.sources.fingerprints import file_fingerprint, listing_fingerprint
from facenet_core.errors import NotAFile, SourceError, StorageError, TooLarge
from facenet_core.privacy import url_secrets
from facenet_core.text import files

_UPWARDS = re.compile(r"^(?:\.\.)?/+(?:\.\./)*")
# Characters; a longer line is read in pieces, which the CSV reader refuses.
_LONGEST_LINE = 2**20
_PATHS = ("path", "file", "filename", "image", "image_path", "image_id", "uri", "url")
_PEOPLE = ("identity", "person", "name", "label", "class", "id", "person_id")


@dataclass(frozen=True)
class Listed:
    """`path,identity` lines, with or without a header.

    Paths are relative to the list's folder, absolute, or URIs. Without a second column, the folder
    of an image is its identity. Secrets are removed from the URIs that name images; if two URIs
    differ in nothing else, the second is a duplicate name.
    """

    uri: str
    wrapped: bool = False

    def fingerprint(self) -> Fingerprint:
        """Over the list, and every local file; files elsewhere count by size."""
        listed = file_fingerprint(self.uri)
        entries = [("", listed.bytes, listed.sha256)]
        with closing(Memo()) as memo:
            for path, _ in self._lines():
                uri = self._uri_of(path)
                file = Path(uri)
                with self._named():
                    if "://" in uri:
                        entries.append((url_secrets.public(path), storage.size(uri) or 0, ""))
                    elif storage.exists(uri) and file.is_file():
                        entries.append((path, file.stat().st_size, memo.sha256(file)))
        return listing_fingerprint(entries)

    def items(self, limits: Limits) -> Iterator[Item]:
        total = 0
        for path, identity in self._lines():
            name = _UPWARDS.sub("", posixpath.normpath(url_secrets.public(path).split("://")[-1]))
            uri = self._uri_of(path)
            with self._named():
                try:
                    size = storage.size(uri)
                    if size is None or ("://" not in uri and not Path(uri).is_file()):
                        yield Unreadable(name, "missing", "no such file")
                    elif size > limits.image_bytes:
                        yield Unreadable(name, "too_many_bytes", f"{size} bytes")
                    else:
                        total += size
                        limits.check_total(self.uri, total)
                        data = storage.read_bytes(uri, limits.image_bytes)
                        yield Member(name, data, identity or None)
                except FileNotFoundError:
                    yield Unreadable(name, "missing", "it disappeared while it was read")
                except NotAFile as error:
                    yield Unreadable(name, "not_a_file", str(error))
                except TooLarge as error:
                    yield Unreadable(name, "too_many_bytes", str(error))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the list in errors about its files."""
        try:
            yield
        except StorageError as error:
            raise type(error)(f"{self.uri}: {error}") from error
        except OSError as error:
            raise SourceError(f"{self.uri}: a file of it cannot be read: {error}") from error

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Path and identity of every line."""
        with storage.open_input(self.uri) as file:
            encoding = files.encoding(file.read(2))
            file.seek(0)
            text = io.TextIOWrapper(cast(BinaryIO, file), encoding=encoding, newline="")
            try:
                first = text.readline(_LONGEST_LINE)
                tabs = self.uri.lower().endswith(".tsv")
                delimiter = "\t" if tabs else files.delimiter(first)
                lines = chain([first], iter(partial(text.readline, _LONGEST_LINE), ""))
                reader = csv.reader(lines, delimiter=delimiter, strict=True)
                columns: tuple[int, int] | None = None
                for cells in reader:
                    if not any(cells):
                        continue
                    if columns is None:
                        columns = _columns(cells)
                        if columns is not None:
                            continue
                        columns = (0, 1)
                    path, identity = columns
                    if len(cells) <= max(columns) and (path or len(cells) != 1):
                        raise SourceError(
                            f"{self.uri}, line {reader.line_num}: {len(cells)} columns, expected "
                            f"{max(columns) + 1}"
                        )
                    person = cells[identity].strip() if len(cells) > 1 else ""
                    address = cells[path].strip()
                    url_secrets.learn(address)
                    yield address, person
            except UnicodeDecodeError as error:
                raise SourceError(f"{self.uri}: {files.not_text(error)}") from None
            except csv.Error as error:
                raise SourceError(
                    f"{self.uri}: not a list of path{'⇥' if tabs else delimiter}identity: {error}"
                ) from error

    def _uri_of(self, path: str) -> str:
        if "://" in path or path.startswith("/"):
            return path
        folder = self.uri.rpartition("/")[0] or "."
        if "\\" in path and storage.size(storage.join(folder, path)) is None:
            path = path.replace("\\", "/")  # written on Windows
        return storage.join(folder, path)


def _columns(cells: list[str]) -> tuple[int, int] | None:
    """Columns of path and identity in a header, or None if the line is not a header."""
    names = [cell.strip().lower() for cell in cells]
    paths = [names.index(name) for name in _PATHS if name in names]
    if not paths:
        return None
    people = [names.index(name) for name in _PEOPLE if name in names]
    people = [column for column in people if column != paths[0]]
    return (paths[0], people[0]) if people else (paths[0], paths[0]) if len(names) == 1 else None
