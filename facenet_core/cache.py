"""The user's cache folder: its content can be deleted at any time and is made again."""

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
    """`$XDG_CACHE_HOME/facenet-pipeline` or `~/.cache/facenet-pipeline`; it may not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "facenet-pipeline"


def cache_folder() -> Path:
    """The configured folder, created if necessary.

    If it cannot be written, a temporary folder that is removed when this process ends: no work
    fails for want of a cache. Only its owner may read it: it holds copies of faces, and paths that
    name people.
    """
    folder = configured_folder()
    if folder.parts[0] == "~":
        return _temporary(folder, "this user has no home")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(OSError):  # another user owns it
            folder.chmod(0o700)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        reason = "no permission to write"
    except OSError as error:
        reason = str(error.strerror)
    return _temporary(folder, reason)


@lru_cache(maxsize=1)
def _temporary(folder: Path, reason: str) -> Path:
    folder_for_now = tempfile.mkdtemp(prefix="facenet-cache-")
    atexit.register(shutil.rmtree, folder_for_now, ignore_errors=True)
    logger.warning(
        "%s: cannot be used as the cache folder (%s), so what would be kept there is made again by "
        "the next run; set XDG_CACHE_HOME to a folder that can be written",
        folder,
        reason,
    )
    return Path(folder_for_now)
