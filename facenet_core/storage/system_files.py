"""Files that operating systems and file servers leave among people's own."""

from __future__ import annotations

_FOLDERS = {
    *("__macosx", ".appledouble", ".fseventsd", ".spotlight-v100", ".trashes"),
    *("@eadir", "#recycle", "@recycle", "#snapshot", "@__thumb", ".@__thumb"),  # of Synology, QNAP
    *("$recycle.bin", "system volume information", "lost+found"),
}
_FILES = {".ds_store", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory"}


def is_system_file(path: str) -> bool:
    """Whether a path, relative to what a user named, is that of a system's own file.

    Such are macOS's `._name` beside each file, `__MACOSX/`, `.DS_Store`, the thumbnails of file
    servers in `@eaDir/`, and Windows' `Thumbs.db`. Their names may end as those of pictures,
    archives and models do.
    """
    *folders, name = path.replace("\\", "/").lower().split("/")
    return name.startswith("._") or name in _FILES or not _FOLDERS.isdisjoint(folders)
