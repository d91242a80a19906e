"""A local folder of photographs: its files in order, following links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from facenet_core import storage
from facenet_core.datasets.members import Fingerprint, Item, Limits, Member, Nested, Unreadable
from facenet_core.datasets.memo import Memo
from facenet_core.datasets.sources.archive import is_nested
from facenet_core.datasets.sources.fingerprints import listing_fingerprint
from facenet_core.errors import SourceError


@dataclass(frozen=True)
class Folder:
    """`Name/Name_0001.jpg`, or any other files below a folder, including archives."""

    root: Path
    wrapped: bool = False

    def fingerprint(self) -> Fingerprint:
        """Hashes each file once: a memo knows files by path, size, times and inode."""
        entries = []
        with closing(Memo()) as memo:
            for path in paths(self.root):
                file = self.root / path
                if file.is_file():
                    with _readable(file):
                        entries.append((path.as_posix(), file.stat().st_size, memo.sha256(file)))
        if not entries:
            raise SourceError(f"{self.root}: the folder is empty; expected Name/Name_0001.jpg")
        return listing_fingerprint(entries)

    def items(self, limits: Limits) -> Iterator[Item]:
        total = 0
        for path in paths(self.root):
            file, name = self.root / path, path.as_posix()
            with _readable(file):
                if not file.is_file():
                    yield Unreadable(name, "not_a_file", "a broken link, device or pipe")
                elif is_nested(name):
                    with file.open("rb") as stream:
                        yield Nested(name, cast(BinaryIO, stream))
                elif (size := file.stat().st_size) > limits.image_bytes:
                    yield Unreadable(name, "too_many_bytes", f"{size} bytes")
                else:
                    total += size
                    limits.check_total(str(self.root), total)
                    yield Member(name, storage.read_local(file, limits.image_bytes))


def paths(folder: Path) -> Iterator[Path]:
    """Files below a folder, relative to it, in the order of their names; links are followed."""

    def fail(error: OSError) -> None:
        raise SourceError(f"{error.filename}: cannot be listed: {error.strerror}")

    visited: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        stat = os.stat(parent)
        if (stat.st_dev, stat.st_ino) in visited:
            raise SourceError(
                f"{parent}: this folder is reached twice, through a link; remove the link"
            )
        visited.add((stat.st_dev, stat.st_ino))
        folders.sort()
        for name in sorted(files):
            yield (Path(parent) / name).relative_to(folder)


class _readable:
    """Context that turns a file's read errors into a SourceError."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise SourceError(f"{self._file}: cannot be read: {error.strerror}") from error
