"""SHA-256 of local files, computed once: a memo knows files by path, size, times and inode."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from facenet_core.cache import cache_folder

# Among them SQLite's word for a table without the columns that it should have.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


class Memo:
    """SHA-256 of files seen before, in a small SQLite file of the user's cache folder."""

    def __init__(self) -> None:
        self._file = cache_folder() / "sha256.sqlite"
        try:
            self._open()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._begin_anew(error)

    def sha256(self, path: Path) -> str:
        stat = path.stat()
        state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
        key = os.fsencode(path.absolute()).hex()
        rows = self._execute("SELECT sha256 FROM memo WHERE path = ? AND state = ?", key, state)
        if rows and re.fullmatch("[0-9a-f]{64}", str(rows[0][0])):
            return str(rows[0][0])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._execute("REPLACE INTO memo VALUES (?, ?, ?)", key, state, digest)
        return digest

    def forget(self, name: str) -> None:
        """Drop all paths that go through a folder of this name."""
        inner = os.fsencode(f"/{name}/").hex()
        self._execute("DELETE FROM memo WHERE instr(path, ?) > 0", inner)

    def close(self) -> None:
        self._database.close()

    def _open(self) -> None:
        # Without a transaction around all of it, so that runs beside this one are not locked out.
        self._database = sqlite3.connect(self._file, timeout=60, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # a lost memo only costs time
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS memo (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)"
        )

    def _execute(self, statement: str, *values: str) -> list[tuple[object, ...]]:
        try:
            return self._database.execute(statement, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._begin_anew(error)
            return self._database.execute(statement, values).fetchall()

    def _begin_anew(self, error: Exception) -> None:
        """With an empty memo where the old one is damaged; else raises the error."""
        self._database.close()
        # Text that is not UTF-8 has no code. Of extended codes the lower byte is the kind.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF not in _DAMAGED:
            raise error
        for suffix in ("", "-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        self._open()


def file_sha256(path: Path) -> str:
    """SHA-256 of a local file, from the memo where the file did not change since."""
    with closing(Memo()) as memo:
        return memo.sha256(path)
