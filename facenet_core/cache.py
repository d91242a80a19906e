"""The user's cache folder: what lies there can be deleted at any time and is made again."""

import atexit
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

logger = logging.getLogger(__name__)


def configured_folder() -> Path:
    """`$XDG_CACHE_HOME/facenet-pipeline` or `~/.cache/facenet-pipeline`, there or not."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "facenet-pipeline"


def cache_folder() -> Path:
    """The configured folder, made if need be.

    Where it cannot be written, a temporary folder that ends with this process: a cache saves time,
    and no work fails for want of it. Nobody but its owner may look into it: it holds copies of
    faces, and paths that name people.
    """
    folder = configured_folder()
    if folder.parts[0] == "~":
        return _temporary(folder, "this user has no home")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(OSError):  # somebody else's
            folder.chmod(0o700)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        reason = "no permission to write"
    except OSError as error:
        reason = str(error.strerror)
    return _temporary(folder, reason)


@lru_cache(maxsize=1)
def _temporary(folder: Path, reason: str) -> Path:
    instead = tempfile.mkdtemp(prefix="facenet-cache-")
    atexit.register(shutil.rmtree, instead, ignore_errors=True)
    logger.warning(
        "%s: cannot be used as the cache folder (%s), so what would be kept there is made again by "
        "the next run; set XDG_CACHE_HOME to a folder that can be written",
        folder,
        reason,
    )
    return Path(instead)
