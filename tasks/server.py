"""Prefect's own temporary server, for runs without a configured one."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Waits for the end of its input, which comes when the parent is gone however it died, and then
# ends the server, which Prefect only stops when Python exits in good order.
_GUARD = "import os, signal, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), signal.SIGTERM)"
_guards: list[subprocess.Popen[bytes]] = []


def start_temporary_server() -> None:
    """Start Prefect's temporary server, once, where no `PREFECT_API_URL` is configured.

    It ends with this process, even when that is killed, and not before it: Ctrl-C in a terminal
    goes to all processes of the command, and the run has to tell the server how it ended.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if _guards or settings.api.url is not None or not settings.server.ephemeral.enabled:
        return
    server = SubprocessASGIServer()
    with _children_in_sessions_of_their_own():
        server.start()
    assert server.server_process is not None  # it was just started
    guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(server.server_process.pid)]
    _guards.append(
        subprocess.Popen(
            guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    )


@contextmanager
def _children_in_sessions_of_their_own() -> Iterator[None]:
    """Prefect has no option for the session of its server."""
    popen = subprocess.Popen
    subprocess.Popen = functools.partial(popen, start_new_session=True)  # type: ignore
    try:
        yield
    finally:
        subprocess.Popen = popen  # type: ignore
