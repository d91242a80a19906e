from __future__ import annotations

import subprocess
import sys

import pytest

from facenet_core.alignment.watchdog import HUNG

HEAD = "import ctypes, time\nfrom facenet_core.alignment.watchdog import Watchdog\n"


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
