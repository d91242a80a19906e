"""Prefect's own temporary server, for runs without a configured one."""

from __future__ import annotations

import subprocess
import sys

# Waits for the end of its input, which comes when the parent is gone however it died, and then
# ends the server, which Prefect only stops when Python exits in good order.
_GUARD = "import os, signal, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), signal.SIGTERM)"


def start_temporary_server() -> None:
    """Start Prefect's temporary server where no `PREFECT_API_URL` is configured.

    It ends with this process, even when that is killed.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url is not None or not settings.server.ephemeral.enabled:
        return
    server = SubprocessASGIServer()
    server.start()
    assert server.server_process is not None  # it was just started
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, str(server.server_process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
