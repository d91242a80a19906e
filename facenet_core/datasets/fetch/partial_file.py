"""Where a download comes down: a file that grows under another name and appears whole.

On local storage the part that came is kept, beside a note of what it is a part of, so that the next
run goes on with it. In object storage it is streamed into a multipart upload, which is abandoned
when the process ends early.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from facenet_core import storage
from facenet_core.datasets.fetch.locate import Wanted

_UPLOAD_BLOCK = 16 * 2**20


@dataclass(frozen=True)
class Stored:
    """A file that was fetched, as the note beside it says. `url` is without credentials."""

    uri: str
    url: str
    bytes: int
    sha256: str
    etag: str | None = None
    last_modified: str | None = None


def stored(wanted: Wanted) -> Stored | None:
    """The stored file where it is whole, and has the digest that is known."""
    try:
        note = Stored(**json.loads(storage.read_bytes(_note(wanted.uri))))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    if storage.size(wanted.uri) != note.bytes:
        return None
    return note if wanted.sha256 in (None, note.sha256) else None


def remove(file: Stored) -> None:
    """Forget a download."""
    storage.remove(_note(file.uri))
    storage.remove(file.uri)


class Landing:
    """A file on its way: append to it, begin it anew, or publish it.

    Attributes:
        size: bytes that came.
        total: bytes that there will be, where the server said so.
        etag, last_modified: what the server calls the file that this is a part of.
        known: an earlier download of the same, for the server to compare with.
    """

    def __init__(self, uri: str, pinned: bool) -> None:
        self.uri = uri
        self.pinned = pinned
        self.size = 0
        self.total: int | None = None
        self.etag: str | None = None
        self.last_modified: str | None = None
        self.previous: Stored | None = None
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._file: IO[bytes] = self._open()

    def begin(self, etag: str | None, last_modified: str | None, total: int | None) -> None:
        """Note what the server calls the file that comes now."""
        self.etag, self.last_modified, self.total = etag, last_modified, total

    def write(self, block: bytes) -> None:
        self._file.write(block)
        self._sha256.update(block)
        self._md5.update(block)
        self.size += len(block)

    def restart(self) -> None:
        """Begin anew, with nothing of what came."""
        self.size, self.total, self.etag, self.last_modified = 0, None, None, None
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._empty()

    def leave_address(self) -> None:
        """Go to a mirror: what came is kept only where a digest will tell whether it fits."""
        if self.pinned:
            self.begin(None, None, None)
        else:
            self.restart()

    def mismatch(self, wanted: Wanted) -> str | None:
        """What is wrong with the whole file, or None."""
        for name, expected, actual in (
            ("bytes", wanted.bytes, self.size),
            ("SHA-256", wanted.sha256, self._sha256.hexdigest()),
            ("MD5", wanted.md5, self._md5.hexdigest()),
        ):
            if expected is not None and expected != actual:
                return f"another file than expected: its {name} is {actual}, not {expected}"
        return None

    def publish(self, wanted: Wanted, address: str) -> Stored:
        """Make the file appear, and the note beside it."""
        sha256 = self._sha256.hexdigest()
        note = Stored(self.uri, address, self.size, sha256, self.etag, self.last_modified)
        storage.remove(_note(self.uri))
        self._appear()
        storage.write_bytes(_note(self.uri), json.dumps(asdict(note), indent=2).encode())
        return note

    def close(self) -> None:
        """Let go of it, published or not."""
        raise NotImplementedError

    def _open(self) -> IO[bytes]:
        raise NotImplementedError

    def _empty(self) -> None:
        raise NotImplementedError

    def _appear(self) -> None:
        raise NotImplementedError


class _Local(Landing):
    """A part file, held by one process at a time."""

    def _open(self) -> IO[bytes]:
        target = Path(storage.file_system(self.uri)[1])
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._part = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")
        while True:
            file = self._part.open("a+b")
            fcntl.flock(file, fcntl.LOCK_EX)  # waits for a run beside this one
            with suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == self._part.stat().st_ino:
                    break
            file.close()  # it was published while we waited
        self._resume(file)
        return file

    def _resume(self, file: IO[bytes]) -> None:
        """Go on with the part that an earlier run left, if it is known what it is a part of."""
        try:
            note = json.loads(self._note.read_text())
            self.etag, self.last_modified, self.total = (
                note["etag"],
                note["last_modified"],
                note["total"],
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            file.truncate(0)
            return
        file.seek(0)
        while block := file.read(2**20):
            self._sha256.update(block)
            self._md5.update(block)
            self.size += len(block)

    def begin(self, etag: str | None, last_modified: str | None, total: int | None) -> None:
        super().begin(etag, last_modified, total)
        note = {"etag": etag, "last_modified": last_modified, "total": total}
        self._note.write_text(json.dumps(note))

    def _empty(self) -> None:
        self._note.unlink(missing_ok=True)
        self._file.truncate(0)

    def _appear(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._part, self._target)
        self._note.unlink(missing_ok=True)

    def close(self) -> None:
        if not self.size:  # while it is locked: who waits for it looks whether it is still there
            self._part.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
        self._file.close()


class _Remote(Landing):
    """A multipart upload, completed only when the file is whole and right."""

    def _open(self) -> Any:
        fs, path = storage.file_system(self.uri)
        return fs.open(path, "wb", block_size=_UPLOAD_BLOCK)

    def _empty(self) -> None:
        self.close()
        self._file = self._open()

    def _appear(self) -> None:
        self._file.close()

    def close(self) -> None:
        if not self._file.closed:
            with suppress(Exception):  # stores differ in what they let go of
                self._file.discard()  # type: ignore[attr-defined]
            self._file.closed = True  # type: ignore[misc]


@contextmanager
def landing(uri: str, pinned: bool) -> Iterator[Landing]:
    """A place for a download; without `publish`, nothing appears there.

    Args:
        pinned: its digest is known, so that parts from different mirrors may be joined.
    """
    file = (_Local if storage.is_local(uri) else _Remote)(uri, pinned)
    try:
        yield file
    finally:
        file.close()


def _note(uri: str) -> str:
    return uri + ".json"
