"""A folder of photographs: its files in order, and a fingerprint of all that they hold."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from facenet_core.cache import cache_folder
from facenet_core.datasets.members import Member, Unreadable
from facenet_core.errors import SourceError


@dataclass(frozen=True)
class Listing:
    """Files of a folder: their number, bytes, and SHA-256 over sorted (path, size, content)."""

    files: int
    bytes: int
    sha256: str


def paths(folder: Path) -> Iterator[Path]:
    """Files below a folder, relative to it, in the order of their names; links are followed."""

    def fail(error: OSError) -> None:
        raise SourceError(f"{error.filename}: cannot be listed: {error.strerror}")

    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        stat = os.stat(parent)
        if (stat.st_dev, stat.st_ino) in seen:
            raise SourceError(f"{parent}: this folder is reached twice, through a link; remove it")
        seen.add((stat.st_dev, stat.st_ino))
        folders.sort()
        for name in sorted(files):
            yield (Path(parent) / name).relative_to(folder)


def members(folder: Path, max_bytes: int) -> Iterator[Member | Unreadable]:
    """The files of a folder. Those above `max_bytes` are not read."""
    for path in paths(folder):
        place = folder / path
        try:
            if not place.is_file():
                yield Unreadable(path.as_posix(), "not_a_file", "a broken link, device or pipe")
            elif (found := place.stat().st_size) > max_bytes:
                yield Unreadable(path.as_posix(), "too_many_bytes", f"{found} bytes")
            else:
                yield Member(path.as_posix(), place.read_bytes())
        except OSError as error:
            raise SourceError(f"{place}: cannot be read: {error.strerror}") from error


def fingerprint(folder: Path) -> Listing:
    """Hash a folder. Content is hashed once: a memo knows files by path, size, times and inode."""
    entries = []
    total = 0
    with closing(_Memo()) as memo:
        for path in paths(folder):
            place = folder / path
            if place.is_file():
                found = place.stat().st_size
                total += found
                try:
                    entries.append((path.as_posix(), found, memo.sha256(place)))
                except OSError as error:
                    raise SourceError(f"{place}: cannot be read: {error.strerror}") from error
    digest = hashlib.sha256()
    for name, found, content in sorted(entries):
        digest.update(f"{name}\0{found}\0{content}\n".encode("utf-8", "surrogateescape"))
    return Listing(len(entries), total, digest.hexdigest())


def file_sha256(path: Path) -> str:
    """SHA-256 of a local file, from the memo where the file did not change since."""
    with closing(_Memo()) as memo:
        return memo.sha256(path)


class _Memo:
    """SHA-256 of files seen before, in a small SQLite file of the user's cache folder."""

    def __init__(self) -> None:
        folder = cache_folder()
        # Without a transaction around all of it, so that runs beside this one are not locked out.
        self._database = sqlite3.connect(folder / "sha256.sqlite", timeout=60, isolation_level=None)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS memo (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)"
        )

    def sha256(self, path: Path) -> str:
        stat = path.stat()
        state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
        key = os.fsencode(path.absolute()).hex()
        row = self._database.execute(
            "SELECT sha256 FROM memo WHERE path = ? AND state = ?", (key, state)
        ).fetchone()
        if row:
            return str(row[0])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._database.execute("REPLACE INTO memo VALUES (?, ?, ?)", (key, state, digest))
        return digest

    def close(self) -> None:
        self._database.close()
