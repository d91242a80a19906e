"""Text files as common programs write them: byte order marks, UTF-16, semicolons."""

from __future__ import annotations

import codecs
import os

from facenet_core.errors import ConfigError, FacenetError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def encoding(start: bytes) -> str:
    """The encoding of a text with these first bytes: UTF-16 if its mark says so, else UTF-8."""
    return "utf-16" if start.startswith(_UTF_16) else "utf-8-sig"


def decode(data: bytes, origin: str, error: type[FacenetError]) -> str:
    """The text in a file, without a byte order mark.

    Args:
        origin: the file's name, for the error.
        error: the kind of error.

    Raises:
        FacenetError: of that type, if the text is in neither encoding.
    """
    try:
        return data.decode(encoding(data))
    except UnicodeDecodeError as problem:
        raise error(f"{origin}: {not_text(problem)}") from None


def not_text(problem: UnicodeDecodeError) -> str:
    """The message for a file that is not in UTF-8."""
    return (
        f"not a text file in UTF-8: {problem.reason} at byte {problem.start}; save it as UTF-8, "
        "in Excel as `CSV UTF-8`"
    )


def require_utf8(name: str) -> None:
    """Refuse a file name that tables, manifests and Prefect cannot store.

    Raises:
        ConfigError: its bytes are not UTF-8; Python passes them on as lone surrogates.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        readable = os.fsencode(name).decode(errors="backslashreplace")
        raise ConfigError(
            f"{readable}: a name that is not UTF-8; rename it, or name a link to it (ln -s). Files "
            "inside a folder may have such names"
        ) from None


def delimiter(first_line: str) -> str:
    """The delimiter of a CSV; Excel writes `;` in languages with a decimal comma."""
    return max(",;\t", key=first_line.count)
