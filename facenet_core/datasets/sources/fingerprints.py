"""Fingerprints of files, local ones through the memo."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from facenet_core import storage
from facenet_core.datasets.members import Fingerprint
from facenet_core.datasets.memo import file_sha256
from facenet_core.errors import SourceError


def file_fingerprint(uri: str) -> Fingerprint:
    """SHA-256 of one file's content.

    Raises:
        SourceError: it does not exist or cannot be read.
    """
    size = storage.size(uri)
    if size is None:
        raise SourceError(f"{uri}: no such file")
    path = Path(uri)
    try:
        sha256 = file_sha256(path) if path.is_file() else storage.sha256(uri)
    except OSError as error:
        raise SourceError(f"{uri}: cannot be read: {error.strerror}") from error
    return Fingerprint(sha256, size)


def listing_fingerprint(entries: Iterable[tuple[str, int, str]]) -> Fingerprint:
    """SHA-256 over sorted (path, size, token), where a token identifies the content."""
    digest = hashlib.sha256()
    total = 0
    for path, size, token in sorted(entries):
        total += size
        digest.update(f"{path}\0{size}\0{token}\n".encode("utf-8", "surrogateescape"))
    return Fingerprint(digest.hexdigest(), total)
