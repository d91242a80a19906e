"""LFW's own text format of pairs: reading View 1 and View 2, and writing View 2."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from facenet_core.datasets.pairs.resolve import Pairs, with_folds
from facenet_core.errors import PairsError

_IMAGE = re.compile(r"(?P<name>.+)/(?P=name)_(?P<number>\d{4,})")


def parse(text: str, origin: str, nrof_folds: int) -> Pairs:
    """Understand LFW's pairs format (Huang et al. 2007, http://vis-www.cs.umass.edu/lfw/).

    View 2 (`pairs.txt`) starts with a line `folds TAB n`; each fold is n lines `Name 1 2` (two
    images of one person) and n lines `Name 1 Other 1` (of two). View 1 (`pairsDevTest.txt`) starts
    with a line `n`: n pairs of one person and n of two. It has no folds: see `pairs.with_folds`. A
    name with spaces needs tabs between the fields.

    Args:
        text: the file's content.
        origin: the file's name, for errors.
        nrof_folds: number of folds of a View 1 file; View 2 has its own.

    Returns:
        Pairs in the file's order, with image ids `Name/Name_0001`, without extension.

    Raises:
        PairsError: names file and line, and what was expected.
    """
    lines = text.rstrip().splitlines()
    folds, half = _header(lines, origin)
    expected = 2 * folds * half
    if len(lines) - 1 != expected:
        raise PairsError(
            f"{origin}: line 1 announces {folds} × ({half} pairs of one person + {half} of two), "
            f"{expected} lines; found {len(lines) - 1}"
        )
    rows = []
    for index, line in enumerate(lines[1:]):
        block = index // half
        try:
            names = _same_pair(line) if block % 2 == 0 else _different_pair(line)
        except ValueError as error:
            raise PairsError(f"{origin}, line {index + 2}: {error}, found {line!r}") from None
        rows.append((block // 2, *names, block % 2 == 0))
    pairs = Pairs.of(rows, "file")
    if len(lines[0].split()) == 1:
        return with_folds(pairs, nrof_folds, origin)
    return pairs


def format_pairs(pairs: Pairs, origin: str) -> str:
    """Pairs in the format of View 2.

    Raises:
        PairsError: an image id is not `Name/Name_0001.jpg`, or the folds are not all of n pairs of
            one person and n of two.
    """
    folds = [np.flatnonzero(pairs.fold == fold) for fold in range(pairs.nrof_folds)]
    counts = {int(pairs.same[rows].sum()) for rows in folds}
    counts |= {int((~pairs.same[rows]).sum()) for rows in folds}
    if len(counts) > 1:
        raise PairsError(
            f"{origin}: LFW's format wants as many pairs of one person as of two in every fold, "
            f"these have {min(counts)} to {max(counts)}; write .csv or .parquet"
        )
    lines = [f"{len(folds)}\t{counts.pop()}"]
    for rows in folds:
        for row in sorted(rows, key=lambda row: not pairs.same[row]):
            first, number = _name_and_number(pairs.image_id_a[row], origin)
            second, other = _name_and_number(pairs.image_id_b[row], origin)
            lines.append(
                f"{first}\t{number}\t{other}"
                if pairs.same[row]
                else f"{first}\t{number}\t{second}\t{other}"
            )
    return "\n".join(lines) + "\n"


def _name_and_number(image_id: str, origin: str) -> tuple[str, int]:
    stem = posixpath.splitext("/".join(image_id.split("/")[-2:]))[0]
    match = _IMAGE.fullmatch(stem)
    if match is None or f"{int(match['number']):04d}" != match["number"] or "\t" in stem:
        raise PairsError(
            f"{origin}: LFW's format names images as Name/Name_0001.jpg, which {image_id} is not; "
            "write .csv or .parquet"
        )
    return match["name"], int(match["number"])


def _header(lines: Sequence[str], origin: str) -> tuple[int, int]:
    """Folds in the file, and pairs in each half of one."""
    first = lines[0] if lines else ""
    fields = first.split()
    if len(fields) not in (1, 2) or not all(
        int(field) if _is_number(field) else 0 for field in fields
    ):
        raise PairsError(
            f"{origin}, line 1: expected `folds n` (LFW View 2, such as `10 300`), `n` (View 1), "
            f"or the header of a CSV with image_id_a, image_id_b and same; found {first[:80]!r}"
        )
    numbers = [int(field) for field in fields]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (1, numbers[0])


def _same_pair(line: str) -> tuple[str, str]:
    match _fields(line):
        case [name, first, second] if name and _is_number(first) and _is_number(second):
            if int(first) == int(second):
                raise ValueError("expected two different images")
            return _image(name, first), _image(name, second)
    raise ValueError("expected `Name N M`, two images of one person")


def _different_pair(line: str) -> tuple[str, str]:
    match _fields(line):
        case [name, first, other, second] if (
            name and other and name != other and _is_number(first) and _is_number(second)
        ):
            return _image(name, first), _image(other, second)
    raise ValueError("expected `Name N Other M`, images of two people")


def _fields(line: str) -> list[str]:
    if line.count("\t") >= 2:
        return [field.strip() for field in line.split("\t")]
    return line.split()


def _is_number(field: str) -> bool:
    return field.isascii() and field.isdecimal() and len(field) < 10


def _image(name: str, number: str) -> str:
    return unicodedata.normalize("NFC", f"{name}/{name}_{int(number):04d}")
