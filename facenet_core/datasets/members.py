"""What a source consists of, and the rules that turn a member into a raw row or skip it."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
_OTHER = {".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2", ".avif"}
EXTENSIONS = frozenset(_JPEG | _OTHER)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")


@dataclass(frozen=True)
class Member:
    """A file of a source: its path as the source has it, and its content."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Unreadable:
    """A file whose content was not read, and why."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Skip:
    """A file that becomes no raw row, as the skipped table lists it."""

    path: str
    reason: str
    detail: str


def raw_rows(
    members: Iterable[Member | Unreadable], name: str, depth: int
) -> Iterator[dict[str, Any] | Skip]:
    """Raw rows (schema `records.RAW`) of a source's members, or why a member is none.

    Every member with an image's extension or signature becomes a row, however broken: whether its
    pixels decode is the alignment's word. The identity is the name of the folder an image lies in.

    Args:
        name: identity of images that lie in no folder.
        depth: paths of at least this many names lose the first, if it is that of the first image:
            archives hold `lfw/Name/Name_0001.jpg`, the image is `Name/Name_0001.jpg`. 0: never.
    """
    seen: set[str] = set()
    top: str | None = None
    for member in members:
        path, problem = _clean(member.path)
        if problem:
            yield Skip(path, "unsafe_name", problem)
        elif isinstance(member, Unreadable):
            yield Skip(path, member.reason, member.detail)
        elif not member.data:
            yield Skip(path, "empty", "0 bytes")
        elif not _is_image(path, member.data):
            yield Skip(path, "not_an_image", "neither an image's extension nor its signature")
        else:
            names = path.split("/")
            if top is None:
                top = names[0] if depth and len(names) >= depth else ""
            image_id = path.removeprefix(top + "/") if top else path
            if image_id in seen:
                yield Skip(path, "duplicate_name", f"{image_id} was there before")
                continue
            seen.add(image_id)
            parents = image_id.split("/")[:-1]
            yield {
                "image_id": image_id,
                "identity": parents[-1] if parents else name,
                "image": {"bytes": member.data, "path": image_id},
                "sha256": hashlib.sha256(member.data).hexdigest(),
            }


def _clean(path: str) -> tuple[str, str]:
    """The path in NFC with plain `/`, and what is wrong with it ("" where nothing is)."""
    try:
        path.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8, as tar and file systems hand them on
        path = path.encode("utf-8", "surrogateescape").decode("latin-1")
    path = unicodedata.normalize("NFC", path.replace("\\", "/"))
    names = [name for name in path.split("/") if name not in ("", ".")]
    if path.startswith("/"):
        return path, "an absolute path"
    if ".." in names:
        return path, "leaves the archive"
    if not names:
        return path, "no name"
    return "/".join(names), ""


def _is_image(path: str, data: bytes) -> bool:
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    known = PurePosixPath(path).suffix.lower() in EXTENSIONS
    return known or webp or data.startswith(_SIGNATURES)
