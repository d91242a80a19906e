"""Ctrl-C and SIGTERM end a command, whatever it waits for."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# Waits for longer than anybody would, as for a server that is gone, with handlers of its own.
STUBBORN = """
import os, signal, time
from flows.cli import shutdown
shutdown.GRACE = 2.0
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    # No print: the signal may come within another one.
    signal.signal(number, lambda number, frame: os.write(1, b"handled %d\\n" % number))
shutdown.end_in_time()
print("ready", flush=True)
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_told_to_end_ends_after_its_handler_had_its_time(number: int) -> None:
    words = [sys.executable, "-c", STUBBORN]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.send_signal(signal.SIGUSR1)
        assert run.stdout.readline() == f"handled {signal.SIGUSR1}\n"
        run.send_signal(number)
        output, errors = run.communicate(timeout=30)
    assert output == f"handled {number}\n"
    assert run.returncode == 128 + number
    assert "the same command continues" in errors
