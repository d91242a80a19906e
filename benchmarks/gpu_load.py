"""How busy a GPU is while contestants take turns."""

from __future__ import annotations

import atexit
import math
import shutil
import statistics
import subprocess
import threading
from collections import deque


class Load:
    """How busy the first GPU is, in percent, as nvidia-smi says ten times a second."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque()
        if shutil.which("nvidia-smi"):
            query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
            command = ["nvidia-smi", *query, "--loop-ms=100"]
            self._program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            atexit.register(self._program.kill)
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._program.stdout:
            self._seen.append(float(line))

    def take(self) -> float:
        """The mean since last asked; NaN where nothing is known."""
        seen = [self._seen.popleft() for _ in range(len(self._seen))]
        return statistics.fmean(seen) if seen else math.nan
