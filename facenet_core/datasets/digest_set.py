"""Which of many millions of keys came before, in bounded memory."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Self

_IN_MEMORY = 400_000  # keys; about 45 MB


class Seen:
    """A set that only grows: the first keys in memory, the others in a temporary file.

    Keys are kept as 16-byte digests (BLAKE2b), so that a collision is out of the question.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._keys: set[bytes] = set()
        self._database: sqlite3.Connection | None = None
        self.count = 0

    def add(self, key: bytes) -> bool:
        """Remember a key. Returns whether it is new."""
        return self.add_digest(hashlib.blake2b(key, digest_size=16).digest())

    def add_digest(self, digest: bytes) -> bool:
        """Remember a key by 16 bytes of a cryptographic hash of it. Returns whether it is new."""
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
