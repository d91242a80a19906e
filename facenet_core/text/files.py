"""Text as people's programs write it: with a byte order mark, in UTF-16, with semicolons."""

from __future__ import annotations

import codecs
import os

from facenet_core.errors import ConfigError, FacenetError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def encoding(start: bytes) -> str:
    """The encoding of a text that begins so: UTF-16 where its mark says so, else UTF-8."""
    return "utf-16" if start.startswith(_UTF_16) else "utf-8-sig"


def decode(data: bytes, origin: str, error: type[FacenetError]) -> str:
    """The text in a file, without a byte order mark.

    Args:
        origin: the file's name, for the error.
        error: the kind of error.

    Raises:
        FacenetError: of that kind: it is in neither encoding.
    """
    try:
        return data.decode(encoding(data))
    except UnicodeDecodeError as problem:
        raise error(f"{origin}: {not_text(problem)}") from None


def not_text(problem: UnicodeDecodeError) -> str:
    """What to say of a file that is not in UTF-8."""
    return (
        f"not a text file in UTF-8: {problem.reason} at byte {problem.start}; save it as UTF-8, "
        "in Excel as `CSV UTF-8`"
    )


def require_utf8(name: str) -> None:
    """Refuse a file's name that tables, manifests and Prefect could not hold.

    Raises:
        ConfigError: its bytes are not UTF-8; Python hands such on as half pairs of surrogates.
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
    """What separates the columns of a CSV; Excel takes `;` where the comma is for decimals."""
    return max(",;\t", key=first_line.count)
