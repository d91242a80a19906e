"""A partial download: a file that grows under another name and appears when it is complete.

On local storage the partial file stays, with a note of which file it is a part of, so that the next
run resumes it. In object storage it is streamed into a multipart upload, which is abandoned if the
process ends early.
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
from facenet_core.fetch.wanted import Wanted

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
    """The stored file if it is complete and has the expected digest, else None."""
    try:
        note = Stored(**json.loads(storage.read_bytes(_note(wanted.uri))))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    if storage.size(wanted.uri) != note.bytes:
        return None
    return note if wanted.sha256 in (None, note.sha256) else None


def remove(file: Stored) -> None:
    """Remove a download and its note."""
    storage.remove(_note(file.uri))
    storage.remove(file.uri)


class PartialFile:
    """A file that is being downloaded: append to it, restart it, or publish it.

    Attributes:
        size: bytes so far.
        total: bytes of the whole file, if the server announced them.
        etag, last_modified: the server's validators of the file.
        previous: an earlier download of the same file, for the server to compare with.
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
        """Record the server's validators and size of the file."""
        self.etag, self.last_modified, self.total = etag, last_modified, total

    def write(self, block: bytes) -> None:
        self._file.write(block)
        self._sha256.update(block)
        self._md5.update(block)
        self.size += len(block)

    def restart(self) -> None:
        """Start again from nothing."""
        self.size, self.total, self.etag, self.last_modified = 0, None, None, None
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._empty()

    def leave_address(self) -> None:
        """Switch to a mirror. The bytes so far stay only if a digest will verify the whole."""
        if self.pinned:
            self.begin(None, None, None)
        else:
            self.restart()

    def mismatch(self, wanted: Wanted) -> str | None:
        """What is wrong with the complete file, or None."""
        for name, expected, actual in (
            ("bytes", wanted.bytes, self.size),
            ("SHA-256", wanted.sha256, self._sha256.hexdigest()),
            ("MD5", wanted.md5, self._md5.hexdigest()),
        ):
            if expected is not None and expected != actual:
                return f"another file than expected: its {name} is {actual}, not {expected}"
        return None

    def publish(self, wanted: Wanted, address: str) -> Stored:
        """Publish the file, and the note beside it."""
        sha256 = self._sha256.hexdigest()
        note = Stored(self.uri, address, self.size, sha256, self.etag, self.last_modified)
        storage.remove(_note(self.uri))
        self._appear()
        storage.write_bytes(_note(self.uri), json.dumps(asdict(note), indent=2).encode())
        return note

    def close(self) -> None:
        """Release the file, published or not."""
        raise NotImplementedError

    def _open(self) -> IO[bytes]:
        raise NotImplementedError

    def _empty(self) -> None:
        raise NotImplementedError

    def _appear(self) -> None:
        raise NotImplementedError


class _Local(PartialFile):
    """A partial file, locked by one process at a time."""

    def _open(self) -> IO[bytes]:
        target = Path(storage.file_system(self.uri)[1])
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._part = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")
        while True:
            file = self._part.open("a+b")
            fcntl.flock(file, fcntl.LOCK_EX)  # waits for another run
            with suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == self._part.stat().st_ino:
                    break
            file.close()  # another run published it meanwhile
        self._resume(file)
        return file

    def _resume(self, file: IO[bytes]) -> None:
        """Resume the partial file of an earlier run, if a note says which file it is a part of."""
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
        if not self.size:  # while locked: a waiting run checks that it still exists
            self._part.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
        self._file.close()


class _Remote(PartialFile):
    """A multipart upload, completed only when the file is complete and verified."""

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
            with suppress(Exception):  # stores differ in what can be discarded
                self._file.discard()  # type: ignore[attr-defined]
            self._file.closed = True  # type: ignore[misc]


@contextmanager
def open_partial(uri: str, pinned: bool) -> Iterator[PartialFile]:
    """Open a partial download. Unless it is published, nothing appears at `uri`.

    Args:
        pinned: the digest is known, so that parts from different mirrors may be joined.
    """
    file = (_Local if storage.is_local(uri) else _Remote)(uri, pinned)
    try:
        yield file
    finally:
        file.close()


def _note(uri: str) -> str:
    return uri + ".json"
