"""Rules that turn a source's items into raw rows, or give the reason for skipping one."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import regex

from facenet_core import storage
from facenet_core.datasets.members import Item, Member, Nested, Unreadable
from facenet_core.errors import ConfigError
from facenet_core.imaging import formats
from facenet_core.imaging.header import picture_size
from facenet_core.privacy import url_secrets

NOT_AN_IMAGE, SYSTEM_FILE = "not_an_image", "system_file"
DUPLICATE_CONTENT = "duplicate_content"
HARMLESS = frozenset((NOT_AN_IMAGE, SYSTEM_FILE))  # reasons that lose no image
# Most paths: they need no change, and no name in them begins with a dot.
_PLAIN = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_. -]{0,200}/){0,9}[A-Za-z0-9_][A-Za-z0-9_. -]{0,200}"
)
_PATTERN_SECONDS = 5.0  # for one path, which usually takes microseconds
_IN_MEMORY = 400_000  # keys of a DigestSet; about 45 MB
LONGEST_NAME = 4096  # characters of a path or identity, as file systems have it


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that does not become a raw row, as listed in the skipped table."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Redacted:
    """A file of a forgotten person. `bytes` is 0 if it would not have become a raw row."""

    bytes: int


def nobody(identity: str) -> bool:
    """The rule of a storage root in which nobody was forgotten."""
    return False


@dataclass(frozen=True)
class RowRules:
    """Which files become rows, and how their identity is found.

    Attributes:
        name: identity of images that are in no folder.
        wrapped: paths of three names or more lose the first name if the first image has it too:
            archives hold `lfw/Name/Name_0001.jpg`, the image is `Name/Name_0001.jpg`.
        max_pixels: images whose header declares more are skipped.
        drop_duplicates: skip an image whose bytes are identical to an earlier one.
        identity_pattern: finds the identity in an image's path; default: the image's folder.
        forgotten: whether a person was forgotten.
    """

    name: str
    wrapped: bool
    max_pixels: int
    drop_duplicates: bool = False
    identity_pattern: str | None = None
    forgotten: Callable[[str], bool] = nobody


class DigestSet:
    """A set that only grows, in bounded memory: later keys are stored in a temporary file.

    It stores 16-byte digests (BLAKE2b) of keys, which do not collide in practice.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._keys: set[bytes] = set()
        self._database: sqlite3.Connection | None = None
        self.count = 0

    def add(self, key: bytes) -> bool:
        """Add a key. Returns whether it is new."""
        return self.add_digest(hashlib.blake2b(key, digest_size=16).digest())

    def add_digest(self, digest: bytes) -> bool:
        """Add a key by 16 bytes of its cryptographic hash. Returns whether it is new."""
        if digest in self._keys:
            return False
        if len(self._keys) < self._in_memory:
            self._keys.add(digest)
        elif not self._store(digest):
            return False
        self.count += 1
        return True

    def _store(self, digest: bytes) -> bool:
        if self._database is None:
            self._database = sqlite3.connect("", isolation_level=None)  # "": a temporary file
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")
            self._database.execute("BEGIN")
        added = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,))
        return added.rowcount == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._database is not None:
            self._database.close()


class RowMaker:
    """Makes raw rows (schema `schemas.RAW`) from items, and remembers names and contents.

    Attributes:
        duplicates: rows and skipped items whose bytes are identical to an earlier one.
        formats: rows in formats that not every installation reads, for `formats.not_read_here`.
    """

    def __init__(self, rules: RowRules) -> None:
        self._rules = rules
        self._pattern = compile_identity_pattern(rules.identity_pattern)
        self._top: str | None = None
        self._names = DigestSet()
        self._contents = DigestSet()
        self._identities = DigestSet()
        self._last_identity: str | None = None
        self._last_forgotten: tuple[str, bool] = ("", False)
        self.duplicates = 0
        self.formats: Counter[str] = Counter()

    @property
    def identities(self) -> int:
        return self._identities.count

    def rows(self, items: Iterable[Item]) -> Iterator[dict[str, Any] | Skip | Redacted]:
        """Yield a row, a Skip or a Redacted for every item, in order.

        Every member with the extension or signature of a format that is read becomes a row, however
        broken: whether its pixels decode is decided by the align stage.
        """
        with self._names, self._contents, self._identities:
            for item in items:
                row = self._row(item)
                if isinstance(row, Skip) and self._names_forgotten(row.path):
                    row = Redacted(0)
                yield row

    def _names_forgotten(self, path: str) -> bool:
        return self._rules.forgotten is not nobody and names_forgotten(
            path, self._rules.name, self._pattern, self._rules.forgotten
        )

    def _is_forgotten(self, identity: str) -> bool:
        if identity != self._last_forgotten[0]:
            self._last_forgotten = (identity, self._rules.forgotten(identity))
        return self._last_forgotten[1]

    def _row(self, item: Item) -> dict[str, Any] | Skip | Redacted:
        path, problem = clean_path(item.path)
        if problem:
            return Skip(path, "unsafe_name", problem)
        if storage.is_system_file(path):
            return Skip(path, SYSTEM_FILE, "a file of the operating system or file server")
        if isinstance(item, Member) and len(item.identity or "") > LONGEST_NAME:
            return Skip(path, "unsafe_name", f"an identity of over {LONGEST_NAME} characters")
        if isinstance(item, Unreadable):
            return Skip(path, item.reason, item.detail)
        if isinstance(item, Nested):
            return Skip(path, "nested_archive", "an archive inside an archive inside an archive")
        if not item.data:
            return Skip(path, "empty", "0 bytes")
        format = formats.of_file(path, item.data)
        if format is None:
            return Skip(path, NOT_AN_IMAGE, "neither an image's extension nor its signature")
        if not format.read:
            return Skip(path, "unsupported_format", str(formats.unsupported(format)))
        size = picture_size(item.data)
        if size is not None and size[0] * size[1] > self._rules.max_pixels:
            return Skip(path, "too_many_pixels", f"{size[0]}x{size[1]}")
        row = self._taken(path, item)
        if isinstance(row, dict) and format in formats.NOT_EVERYWHERE:
            self.formats[formats.count_name(format)] += 1
        return row

    def _taken(self, path: str, item: Member) -> dict[str, Any] | Skip | Redacted:
        image_id = self._unwrapped(path)
        identity = _text(item.identity or self._identity(image_id) or "")
        if not identity:
            return Skip(path, "no_identity", "the identity pattern does not match")
        content = hashlib.sha256(item.data)
        if not self._names.add(image_id.encode()):
            return Skip(path, "duplicate_name", f"{image_id} was there before")
        if not self._contents.add_digest(content.digest()[:16]):
            self.duplicates += 1
            if self._rules.drop_duplicates:
                return Skip(path, DUPLICATE_CONTENT, content.hexdigest())
        # Last of all: what happens to other people's photographs must not depend on who was
        # forgotten.
        if self._is_forgotten(identity):
            return Redacted(len(item.data))
        if identity != self._last_identity:
            self._identities.add(identity.encode())
            self._last_identity = identity
        return {
            "image_id": image_id,
            "identity": identity,
            "image": {"bytes": item.data, "path": image_id},
            "sha256": content.hexdigest(),
        }

    def _unwrapped(self, path: str) -> str:
        if self._top is None:
            names = path.split("/")
            self._top = names[0] + "/" if self._rules.wrapped and len(names) >= 3 else ""
        return path.removeprefix(self._top)

    def _identity(self, image_id: str) -> str | None:
        return identity_of(image_id, self._rules.name, self._pattern)


def identity_of(image_id: str, name: str, pattern: regex.Pattern[str] | None) -> str | None:
    """The identity of an image: its folder, or the pattern's match in its path, else None.

    Args:
        name: the identity of images that lie in no folder.
        pattern: from `compile_identity_pattern`.

    Raises:
        ConfigError: the pattern takes too long.
    """
    if pattern is None:
        folder = image_id.rpartition("/")[0]
        return folder.rpartition("/")[2] or name
    try:
        match = pattern.search(image_id, timeout=_PATTERN_SECONDS)
    except TimeoutError:
        raise ConfigError(
            f"identity_pattern: {pattern.pattern!r} takes more than {_PATTERN_SECONDS:g} s on the "
            f"path {image_id!r:.200}; avoid repetitions inside repetitions, such as `(a+)+`"
        ) from None
    if match is None:
        return None
    group = "identity" if "identity" in pattern.groupindex else 1
    return match[group] or None


def names_forgotten(
    path: str, name: str, pattern: regex.Pattern[str] | None, forgotten: Callable[[str], bool]
) -> bool:
    """Whether the path of a skipped file names a forgotten person.

    An archive may wrap its paths in one more folder, so the path without its first name is checked
    as well.
    """
    identities = (identity_of(p, name, pattern) for p in (path, path.partition("/")[2]) if p)
    return any(identity is not None and forgotten(identity) for identity in identities)


def compile_identity_pattern(pattern: str | None) -> regex.Pattern[str] | None:
    """Compile the expression of `--identity-pattern`.

    Raises:
        ConfigError: it does not compile, or has no group for the identity.
    """
    if pattern is None:
        return None
    try:
        # Not `re`: its searches cannot be limited in time, and paths come from strangers.
        compiled = regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"identity_pattern: {pattern!r} is not a valid regular expression: {error}"
        ) from None
    if not compiled.groups:
        raise ConfigError(
            f"identity_pattern: {pattern!r} has no group; put the part that is the identity in "
            "parentheses, such as `^([^_]+)_` or `(?P<identity>id\\d+)`"
        )
    return compiled


def clean_path(path: str) -> tuple[str, str]:
    """The path in NFC with plain `/`, and what is wrong with it ("" if nothing is).

    Tables may hold URLs as paths; secrets in them are removed.
    """
    if _PLAIN.fullmatch(path):
        return path, ""
    path = _text(url_secrets.public(path).replace("\\", "/"))
    if len(path) > LONGEST_NAME:
        return path[:LONGEST_NAME], f"longer than {LONGEST_NAME} characters"
    if path.startswith("/") or re.match("[A-Za-z]:/", path):
        return path, "an absolute path"
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        return path, "leaves the archive"
    if "\0" in path or not names:
        return path.replace("\0", "␀"), "no name"
    return "/".join(names), ""


def extension(data: bytes) -> str:
    """The extension for an image without a file name, by its signature."""
    return (formats.of_content(data) or formats.JPEG).extensions[0]


def _text(name: str) -> str:
    """A name in NFC that can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8, from tars and file systems
        try:
            name = name.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError:  # half a pair of surrogates, which JSON can name
            name = name.encode("utf-8", "xmlcharrefreplace").decode()
    return unicodedata.normalize("NFC", name)
