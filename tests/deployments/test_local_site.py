"""`make server`: what it started ends with it, however it is told to end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deployments.local_site import REPOSITORY
from facenet_core.runtime import free_port


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGHUP])
def test_a_site_leaves_no_server_behind(told: signal.Signals, tmp_path: Path) -> None:
    script = REPOSITORY / "deployments" / "local_site.py"
    words = [sys.executable, script, "--port", str(free_port()), "--home", tmp_path / "site"]
    site = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (started := psutil.Process(site.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # it takes note of what it started
    site.send_signal(told)
    assert site.wait(60) == 130
    assert len(started) == 1
    assert not started[0].is_running()
