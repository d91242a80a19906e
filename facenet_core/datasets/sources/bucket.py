"""Images below a prefix of an object store, or in any other folder that is not local."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from facenet_core import storage
from facenet_core.datasets.members import Fingerprint, Item, Limits, Member, Nested, Unreadable
from facenet_core.datasets.sources.archive import is_nested
from facenet_core.datasets.sources.fingerprints import listing_fingerprint
from facenet_core.errors import SourceError

_TOGETHER = 64  # files that are fetched at the same time
_TOGETHER_BYTES = 2**26
_TOKENS = ("ETag", "etag", "md5Hash", "contentHash", "LastModified", "mtime", "created")


@dataclass(frozen=True)
class Bucket:
    """`s3://bucket/prefix` and every other folder that fsspec lists; reads many files at a time."""

    uri: str
    wrapped: bool = False
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def fingerprint(self) -> Fingerprint:
        """By the ETags of files, or else their times; does not read the files."""
        self._cache.clear()
        files = self._files()
        if not files:
            raise SourceError(f"{self.uri}: there are no files; expected Name/Name_0001.jpg")
        return listing_fingerprint((path, size, token) for path, (size, token) in files.items())

    def items(self, limits: Limits) -> Iterator[Item]:
        total = 0
        batch: dict[str, int] = {}
        for path, (size, _) in self._files().items():
            if size > limits.image_bytes or is_nested(path):
                yield from self._fetch(batch)
                batch = {}
                if is_nested(path):
                    with storage.open_input(storage.join(self.uri, path)) as stream:
                        yield Nested(path, cast(BinaryIO, stream))
                else:
                    yield Unreadable(path, "too_many_bytes", f"{size} bytes")
                continue
            total += size
            limits.check_total(self.uri, total)
            if len(batch) == _TOGETHER or sum(batch.values()) + size > _TOGETHER_BYTES:
                yield from self._fetch(batch)
                batch = {}
            batch[path] = size
        yield from self._fetch(batch)

    def _fetch(self, sizes: dict[str, int]) -> Iterator[Member]:
        for path, data in zip(sizes, storage.read_files(self.uri, sizes), strict=True):
            yield Member(path, data)

    def _files(self) -> dict[str, tuple[int, str]]:
        """Size and token of every file by its path below the prefix, sorted."""
        if not self._cache:
            for path, info in storage.find_files(self.uri).items():
                self._cache[path] = (int(info["size"] or 0), _token(info))
        return self._cache


def _token(info: Mapping[str, Any]) -> str:
    return next((str(info[name]).strip('"') for name in _TOKENS if info.get(name)), "")
