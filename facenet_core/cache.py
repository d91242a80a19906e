"""The user's cache folder: what lies there can be deleted at any time and is made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/facenet-pipeline` or `~/.cache/facenet-pipeline`, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "facenet-pipeline"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
