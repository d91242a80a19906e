"""SHA-256 of local files, computed once: a memo knows files by path, size, times and inode."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from facenet_core.cache import cache_folder


class Memo:
    """SHA-256 of files seen before, in a small SQLite file of the user's cache folder."""

    def __init__(self) -> None:
        folder = cache_folder()
        # Without a transaction around all of it, so that runs beside this one are not locked out.
        self._database = sqlite3.connect(folder / "sha256.sqlite", timeout=60, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # a lost memo only costs time
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


def file_sha256(path: Path) -> str:
    """SHA-256 of a local file, from the memo where the file did not change since."""
    with closing(Memo()) as memo:
        return memo.sha256(path)
