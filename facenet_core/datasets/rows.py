"""The rules that turn a source's items into raw rows, or say why one is skipped."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from facenet_core.datasets.members import Item, Member, Nested, Unreadable
from facenet_core.datasets.picture_header import picture_size
from facenet_core.datasets.seen import Seen
from facenet_core.errors import ConfigError

_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
_OTHER = {".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2", ".avif"}
EXTENSIONS = frozenset(_JPEG | _OTHER)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")
# Most paths: nothing in them has to be changed, and no name begins with a dot.
_PLAIN = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_. -]{0,200}/){0,9}[A-Za-z0-9_][A-Za-z0-9_. -]{0,200}"
)
_LONGEST_PATH = 4096  # characters, as file systems have it


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that becomes no raw row, as the skipped table lists it."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Rules:
    """What is taken, and who is on it.

    Attributes:
        name: identity of images that lie in no folder.
        wrapped: paths of at least three names lose the first, if it is that of the first image:
            archives hold `lfw/Name/Name_0001.jpg`, the image is `Name/Name_0001.jpg`.
        max_pixels: pictures whose header says more are skipped.
        drop_duplicates: skip a picture whose bytes came before.
        identity_pattern: finds the identity in an image's path; default: the folder it lies in.
    """

    name: str
    wrapped: bool
    max_pixels: int
    drop_duplicates: bool = False
    identity_pattern: str | None = None


class RowMaker:
    """Makes raw rows (schema `records.RAW`) of items, and remembers what it has seen."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._pattern = compile_identity_pattern(rules.identity_pattern)
        self._top: str | None = None
        self._names = Seen()
        self._contents = Seen()
        self._identities = Seen()
        self._last_identity: str | None = None
        self.duplicates = 0

    @property
    def identities(self) -> int:
        return self._identities.count

    def rows(self, items: Iterable[Item]) -> Iterator[dict[str, Any] | Skip]:
        """A row or a Skip for every item, in order.

        Every member with an image's extension or signature becomes a row, however broken: whether
        its pixels decode is the alignment's word.
        """
        with self._names, self._contents, self._identities:
            for item in items:
                yield self._row(item)

    def _row(self, item: Item) -> dict[str, Any] | Skip:
        path, problem = clean_path(item.path)
        if problem:
            return Skip(path, "unsafe_name", problem)
        if isinstance(item, Unreadable):
            return Skip(path, item.reason, item.detail)
        if isinstance(item, Nested):
            return Skip(path, "nested_archive", "an archive inside an archive inside an archive")
        if not item.data:
            return Skip(path, "empty", "0 bytes")
        if not is_image(path, item.data):
            return Skip(path, "not_an_image", "neither an image's extension nor its signature")
        size = picture_size(item.data)
        if size is not None and size[0] * size[1] > self._rules.max_pixels:
            return Skip(path, "too_many_pixels", f"{size[0]}x{size[1]}")
        return self._taken(path, item)

    def _taken(self, path: str, item: Member) -> dict[str, Any] | Skip:
        image_id = self._unwrapped(path)
        identity = item.identity or self._identity(image_id)
        if identity is None:
            return Skip(path, "no_identity", "the identity pattern does not match")
        content = hashlib.sha256(item.data)
        if not self._names.add(image_id.encode()):
            return Skip(path, "duplicate_name", f"{image_id} was there before")
        if not self._contents.add_digest(content.digest()[:16]):
            self.duplicates += 1
            if self._rules.drop_duplicates:
                return Skip(path, "duplicate_content", content.hexdigest())
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
        if self._pattern is None:
            folder = image_id.rpartition("/")[0]
            return folder.rpartition("/")[2] or self._rules.name
        found = self._pattern.search(image_id)
        if found is None:
            return None
        group = "identity" if "identity" in self._pattern.groupindex else 1
        return found[group] or None


def compile_identity_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """The expression of `--identity-pattern`.

    Raises:
        ConfigError: it does not compile, or has no group to find the identity in.
    """
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"identity_pattern: {pattern!r} is no regular expression: {error}"
        ) from None
    if not compiled.groups:
        raise ConfigError(
            f"identity_pattern: {pattern!r} has no group; put the part that is the identity in "
            "parentheses, such as `^([^_]+)_` or `(?P<identity>id\\d+)`"
        )
    return compiled


def clean_path(path: str) -> tuple[str, str]:
    """The path in NFC with plain `/`, and what is wrong with it ("" where nothing is)."""
    if _PLAIN.fullmatch(path):
        return path, ""
    try:
        path.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8, as tar and file systems hand them on
        path = path.encode("utf-8", "surrogateescape").decode("latin-1")
    path = unicodedata.normalize("NFC", path.replace("\\", "/"))
    if len(path) > _LONGEST_PATH:
        return path[:_LONGEST_PATH], f"longer than {_LONGEST_PATH} characters"
    if path.startswith("/") or re.match("[A-Za-z]:/", path):
        return path, "an absolute path"
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        return path, "leaves the archive"
    if "\0" in path or not names:
        return path.replace("\0", "␀"), "no name"
    return "/".join(names), ""


def is_image(path: str, data: bytes) -> bool:
    dot = path.rfind(".")
    if dot >= 0 and path[dot:].lower() in EXTENSIONS:
        return True
    return data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def extension(data: bytes) -> str:
    """The extension for pictures that come without a name, by their signature."""
    for signature, name in ((b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp")):
        if data.startswith(signature):
            return name
    return ".webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ".jpg"
