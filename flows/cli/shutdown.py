"""A command that is told to end does so in time, even where Prefect's server is gone.

Prefect tries to report how each run ended for about a minute, and every event that it still holds
for several seconds. While a run goes on that patience is what lets it outlive a server's restart;
once somebody pressed Ctrl-C it only keeps them waiting. Whatever is cut off here is what a kill
cuts off, too: nothing but finished parts counts, and the same command continues.
"""

from __future__ import annotations

import os
import signal
import threading
import time

GRACE = 25.0  # seconds: workers are closed within 20


def end_in_time() -> None:
    """From now on this process ends `GRACE` seconds after SIGINT or SIGTERM, at the latest.

    Whoever handles these signals goes on doing so: a wakeup file descriptor is told of them beside
    that. For the main thread of a program that owns its process.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(heard,), daemon=True, name="ending").start()


def _wait(heard: int) -> None:
    while (number := os.read(heard, 1)[0]) not in (signal.SIGINT, signal.SIGTERM):
        pass
    time.sleep(GRACE)
    said = "ended without waiting any longer for the Prefect server or for workers"
    try:  # no print: whoever holds stderr may be what hangs, or nobody reads it any more
        os.write(2, f"facenet: {said}; the same command continues from here\n".encode())
    finally:
        os._exit(128 + number)
