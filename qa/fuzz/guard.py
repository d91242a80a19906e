"""Watches over one input: how long it takes, where it writes, whether it starts anything.

Python tells of each file that it opens for writing, each process and each connection
(`sys.addaudithook`), also where a library swallows the error that the hook raises. What libraries
in C++ write is not told; for those the folders are compared after each job.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown"}
_IN_A_FOLDER = {"os.remove", "os.mkdir", "os.rmdir"}  # by its descriptor, where that is not -1
_TWO_PATHS = {"os.rename", "os.link", "os.symlink"}
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"}
_UNPICKLES = {"pickle.find_class", "shelve.open"}


class TooSlow(BaseException):
    """An input took longer than it may. No reader catches it."""


class Watch:
    """Notes what an input does that it must not, while it is armed.

    Args:
        allowed: the only folders in which may be written.
        network: whether connections to this machine are in order.
    """

    def __init__(self, allowed: tuple[Path, ...], network: bool) -> None:
        self._allowed = tuple(os.path.realpath(folder) for folder in allowed)
        self._network = network
        self._armed = False
        self.breaches: list[str] = []
        sys.addaudithook(self._hear)

    @contextmanager
    def input(self, seconds: float) -> Iterator[None]:
        """While one input is read.

        Raises:
            TooSlow: in the block, after so many seconds. Twice as long, the process ends.
        """
        self.breaches = []
        faulthandler.dump_traceback_later(2 * seconds, exit=True)
        signal.signal(signal.SIGALRM, _raise_too_slow)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        self._armed = True
        try:
            yield
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & _WRITES
            if writes and isinstance(path, str | bytes | os.PathLike):
                self._require_inside(event, path)
        elif event in _CHANGES:
            folder = arguments[-1] if event in _IN_A_FOLDER else -1
            self._require_inside(event, arguments[0], folder)
        elif event in _TWO_PATHS:
            for path in arguments[:2] if event != "os.symlink" else arguments[1:2]:
                self._require_inside(event, path)
        elif event in _STARTS or event in _UNPICKLES:
            self._breach(f"{event} {arguments!r:.120}")
        elif event == "marshal.loads" and "importlib" not in sys._getframe(1).f_code.co_filename:
            self._breach("marshal.loads")
        elif event == "socket.connect":
            host = arguments[1][0] if isinstance(arguments[1], tuple) else arguments[1]
            if not (self._network and host == "127.0.0.1"):
                self._breach(f"connects to {host}")

    def _require_inside(self, event: str, path: Any, folder: int = -1) -> None:
        if isinstance(path, int):
            return
        self._armed = False  # what follows changes nothing, but may be audited itself
        above = "" if folder == -1 else os.readlink(f"/proc/self/fd/{folder}")
        file_path = os.path.realpath(os.path.join(above, os.fsdecode(path)))
        self._armed = True
        inside = any(file_path == f or file_path.startswith(f + os.sep) for f in self._allowed)
        if not inside and file_path != os.devnull and not file_path.endswith(".pyc"):
            self._breach(f"{event} {file_path}")

    def _breach(self, what: str) -> None:
        self.breaches.append(what)
        raise PermissionError(f"not while fuzzing: {what}")


def _raise_too_slow(number: int, frame: object) -> None:
    raise TooSlow
