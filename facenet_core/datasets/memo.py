"""A memo of the SHA-256 of local files, known by path, size, times and inode."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from facenet_core.cache import cache_folder
from facenet_core.errors import StorageError

# SQLITE_ERROR is raised for a table without the expected columns.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# Also: a network file system without locks, or a disk that is full, read-only or failing.
_UNUSABLE = (
    *_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)
_PATIENCE = 5.0  # seconds: to wait longer would cost more than the memo saves
MEMO = "sha256.sqlite"  # in the cache folder


class Memo:
    """SHA-256 of files hashed before, in a small SQLite file of the user's cache folder.

    If another process locks that file or it cannot be written, the memo is in memory only.
    """

    def __init__(self) -> None:
        self._file = cache_folder() / MEMO
        with suppress(OSError):  # the memo is then in memory only
            self._file.touch(mode=0o600)
        self._target: str | Path = self._file
        self._problem = ""  # for which the memo is in memory
        self._database = sqlite3.connect(":memory:")
        try:
            self._open()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._recover(error)

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
        """Delete all paths that contain a folder of this name.

        Raises:
            StorageError: another process holds the memo, or it cannot be written.
        """
        inner = os.fsencode(f"/{name}/").hex()
        self._execute("DELETE FROM memo WHERE instr(path, ?) > 0", inner)
        if self._target != self._file:
            raise StorageError(
                f"{self._file}: cannot be changed: {self._problem}; run the same again"
            )

    def close(self) -> None:
        self._database.close()

    def _open(self) -> None:
        self._database.close()
        # No transaction spans several statements, so that other runs are not locked out.
        self._database = sqlite3.connect(self._target, timeout=_PATIENCE, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # a lost memo only costs time
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS memo (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)"
        )

    def _execute(self, statement: str, *values: str) -> list[tuple[object, ...]]:
        try:
            return self._database.execute(statement, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._recover(error)
            return self._database.execute(statement, values).fetchall()

    def _recover(self, error: Exception) -> None:
        """Go on with an empty memo if the old one is damaged or unusable; else raise the error."""
        # Text that is not UTF-8 has no code. Of extended codes the lower byte is the kind.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF in _UNUSABLE:
            locked = code & 0xFF in _LOCKED
            self._problem = "another process holds it" if locked else str(error)
            self._target = ":memory:"
        elif code & 0xFF in _DAMAGED:
            for suffix in ("", "-wal", "-shm"):
                self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        else:
            raise error
        self._open()


def file_sha256(path: Path) -> str:
    """SHA-256 of a local file, from the memo if the file has not changed."""
    with closing(Memo()) as memo:
        return memo.sha256(path)
