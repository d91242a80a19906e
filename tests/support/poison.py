"""Photographs that crash or hang whatever process decodes them.

Decoders have such bugs now and then. Here a `sitecustomize`, which Python imports when it starts,
gives Pillow one, in the processes that have its folder on their path.
"""

from __future__ import annotations

from pathlib import Path

CRASH, HANG = b"poison: crash", b"poison: hang"

_SITECUSTOMIZE = f"""
import ctypes, os, signal
from PIL import ImageFile

load = ImageFile.ImageFile.load

def load_or_die(self):
    if self.fp is not None:
        place = self.fp.tell()
        self.fp.seek(0)
        data = self.fp.read()
        self.fp.seek(place)
        if {CRASH!r} in data:
            os.kill(os.getpid(), signal.SIGSEGV)
        if {HANG!r} in data:
            ctypes.PyDLL(None).sleep(3600)  # and keeps Python's lock
    return load(self)

ImageFile.ImageFile.load = load_or_die
"""


def install(folder: Path) -> str:
    """Write the module; returns the folder for PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    return str(folder)
