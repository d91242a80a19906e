"""Room for local copies of crops: of those that were not used for the longest time, none is kept.

A copy that is removed while another training reads it stays readable to that one: its memory map
holds the file until the process ends.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from facenet_core.errors import TrainingError

logger = logging.getLogger(__name__)

SUFFIX = ".arrow"
GIB = 2**30


_OR_STREAM = "or set read_crops: stream, which copies nothing (not for balanced or triplets)"


def limit(gib: float) -> int:
    """Bytes that all copies together may take, of `crop_cache_gib`."""
    return int(gib * GIB)


def capacity(folder: Path, limit: int) -> int:
    """Bytes of the largest copy that limit and disk have room for, once all others are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}"))
    return min(limit, shutil.disk_usage(folder).free + copies)


def touch(path: Path) -> None:
    """Note that a copy is used now."""
    os.utime(path)


def make_room(folder: Path, needed: int, limit: int) -> None:
    """Remove copies, the longest unused first, until `needed` bytes fit into limit and disk.

    Raises:
        TrainingError: they do not fit even into an empty cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if needed > limit:
        raise TrainingError(
            f"{folder}: the crops take {needed / GIB:.1f} GiB, the cache may hold "
            f"{limit / GIB:g}; raise crop_cache_gib, {_OR_STREAM}"
        )
    copies = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)
    used = sum(path.stat().st_size for path in copies)
    while copies and (used + needed > limit or shutil.disk_usage(folder).free < needed):
        oldest = copies.pop(0)
        logger.info("removing %s, unused for the longest time, to make room", oldest)
        used -= oldest.stat().st_size
        oldest.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"{folder}: the crops take {needed / GIB:.1f} GiB and {free / GIB:.1f} are free on "
            "its disk; make room, set XDG_CACHE_HOME to a folder on a larger one, "
            f"{_OR_STREAM}"
        )
