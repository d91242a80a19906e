"""The user's cache folder: what lies there can be deleted at any time and is made again."""

import os
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/facenet-pipeline` or `~/.cache/facenet-pipeline`, made if need be.

    Nobody but its owner may look into it: it holds copies of faces, and paths that name people.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "facenet-pipeline"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(OSError):  # somebody else's
        folder.chmod(0o700)
    return folder
