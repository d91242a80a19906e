"""A command that is asked to end does so in time, even where Prefect's server is gone.

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

    Other handlers of these signals go on working: Python also writes the signals' numbers to a
    wakeup file descriptor. For the main thread of a program that owns its process.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reader,), daemon=True, name="shutdown").start()


def _wait(reader: int) -> None:
    while (number := os.read(reader, 1)[0]) not in (signal.SIGINT, signal.SIGTERM):
        pass
    time.sleep(GRACE)
    message = "ended without waiting any longer for the Prefect server or for workers"
    try:  # no print: whoever holds stderr may be what hangs, or nobody reads it any more
        os.write(2, f"facenet: {message}; the same command continues from here\n".encode())
    finally:
        os._exit(128 + number)
