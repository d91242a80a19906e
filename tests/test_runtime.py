"""The engine's noise is dropped and everything else reaches the terminal; Keras comes alone; a free
port stays free."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from facenet_core import runtime
from facenet_core.runtime import HUNG, free_port, quietly

NOISE = b"I0000 port.cc:153] oneDNN custom operations are on. You may see slightly different\n"


def test_only_noise_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with quietly():
        os.write(2, NOISE)
        os.write(2, b"E0000 out of memory\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "E0000 out of memory\nafter\n"


def test_what_was_written_before_an_exception_is_not_lost(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError), quietly():
        os.write(2, b"E0000 why\n")
        raise RuntimeError
    assert capfd.readouterr().err == "E0000 why\n"


def test_keras_does_not_bring_what_is_not_used_through_it() -> None:
    program = """
import sys
from facenet_core.runtime import keras_alone
import matplotlib
with keras_alone():
    import keras
assert "sklearn" not in sys.modules
assert sys.modules["matplotlib"] is matplotlib  # was there before
from sklearn.metrics import roc_curve  # may come later
"""
    subprocess.run([sys.executable, "-c", program], check=True)


HEAD = "import ctypes, time\nfrom facenet_core.runtime import Watchdog\n"


def ends_with(script: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script], stderr=subprocess.DEVNULL, timeout=60, check=False
    )
    return done.returncode


@pytest.mark.parametrize("hang", ["time.sleep(99)", "ctypes.PyDLL(None).sleep(99)"])
def test_a_process_that_hangs_ends_itself(hang: str) -> None:
    assert ends_with(f"with Watchdog(0.3): {hang}") == HUNG


def test_progress_starts_the_time_anew() -> None:
    script = "with Watchdog(1) as watchdog:\n for _ in range(4): time.sleep(.4); {}"
    assert ends_with(script.format("watchdog.progress()")) == 0
    assert ends_with(script.format("pass")) == HUNG


def test_after_the_work_and_without_a_limit_nothing_ends() -> None:
    assert ends_with("with Watchdog(0.3): pass\ntime.sleep(0.8)") == 0
    assert ends_with("with Watchdog(None): time.sleep(0.2)") == 0


def test_a_free_port_is_one_that_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", free_port()))
        port = used.getsockname()[1]
        monkeypatch.setattr(runtime, "_PORTS", range(port, port + 1))
        with pytest.raises(OSError, match=f"every port from {port} to {port} is in use"):
            free_port()
    assert free_port() == port


def test_a_free_port_is_none_that_the_system_gives_to_connections() -> None:
    said = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not said.exists():
        pytest.skip("Linux says which ports it gives to connections")
    first = int(said.read_text().split()[0])
    assert runtime._PORTS[-1] < first, f"{said} starts at {first}"
