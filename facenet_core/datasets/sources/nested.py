"""Archives and record files inside a source: one level is read in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from facenet_core.datasets.members import Item, Limits, Member, Nested, Source, Unreadable
from facenet_core.datasets.sources import archive, recordio


def items(source: Source, name: str, limits: Limits) -> Iterator[Item]:
    """A source's items, an archive in it replaced by its members.

    `train.tar.gz` with `n000001/0001_01.jpg` gives `train/n000001/0001_01.jpg`, so that names
    from several archives do not clash. An archive inside that one stays a `Nested`.

    Raises:
        SourceError: the members of all archives together are over the limit on the total.
    """
    taken = 0
    for item in _all(source, name, limits):
        if isinstance(item, Member):
            taken += len(item.data)
            limits.check_total(name, taken)
        yield item


def _all(source: Source, name: str, limits: Limits) -> Iterator[Item]:
    for item in source.items(limits):
        if isinstance(item, Nested):
            yield from _expanded(item, f"{name}: {item.path}", limits)
        else:
            yield item


def _expanded(nested: Nested, name: str, limits: Limits) -> Iterator[Item]:
    prefix = _stem(nested.path)
    for item in _inside(nested.stream, nested.path, name, limits):
        path = item.path if item.path.startswith("/") else f"{prefix}/{item.path}"
        if isinstance(item, Member):
            yield Member(path, item.data, item.identity)
        elif isinstance(item, Unreadable):
            yield Unreadable(path, item.reason, item.detail)
        else:
            yield Unreadable(path, "nested_archive", "an archive two archives deep")


def _inside(stream: BinaryIO, path: str, name: str, limits: Limits) -> Iterator[Item]:
    if not path.lower().endswith(".rec"):
        yield from archive.read(stream, name, limits)
        return
    with archive.named(name):  # the archive around the records may be what is damaged
        yield from recordio.read(stream, name, limits)


def _stem(path: str) -> str:
    folder, slash, file = path.rpartition("/")
    for extension in sorted((*archive.EXTENSIONS, ".rec"), key=len, reverse=True):
        if file.lower().endswith(extension):
            return folder + slash + file[: -len(extension)]
    return path
