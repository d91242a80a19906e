"""Pairs lists of the data sets like LFW: CFP, AgeDB-30, CALFW and CPLFW."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

import numpy as np

from facenet_core import storage
from facenet_core.datasets.pairs.resolve import Pairs, with_folds
from facenet_core.errors import PairsError
from facenet_core.text import files

_LABELS = {"1": True, "0": False, "-1": False}


def parse_triples(text: str, origin: str, nrof_folds: int) -> Pairs:
    """Lines `image image label`, as AgeDB-30 and CFP circulate (`agedb_30_pair.txt`).

    The label is 1 for one person, 0 or -1 for two. The list has no folds: see `pairs.with_folds`.

    Raises:
        PairsError: names file and line, and what was expected.
    """
    rows = []
    for number, line in _lines(text):
        fields = line.split("\t") if line.count("\t") == 2 else line.split()
        if len(fields) != 3 or fields[2] not in _LABELS or fields[0] == fields[1]:
            raise PairsError(
                f"{origin}, line {number}: expected `image image label` with two images and the "
                f"label 1, 0 or -1, found {line[:120]!r}"
            )
        rows.append((0, fields[0], fields[1], _LABELS[fields[2]]))
    return _folded(rows, origin, nrof_folds)


def parse_twins(text: str, origin: str, nrof_folds: int) -> Pairs:
    """Two lines a pair, `image fold`, as CALFW and CPLFW are distributed (`pairs_CALFW.txt`).

    Both lines of a pair carry the same number: the fold, from 1, of a pair of one person; 0 for a
    pair of two people, which have no folds of their own: the i-th equal stretch of them is fold i.
    Where all pairs of one person carry 1, that is no fold but a label: see `pairs.with_folds`.

    Raises:
        PairsError: names file and line, and what was expected.
    """
    lines = list(_lines(text))
    rows = []
    for start in range(0, len(lines), 2):
        twins = [line.rsplit(maxsplit=1) for _, line in lines[start : start + 2]]
        good = len(twins) == 2 and all(len(twin) == 2 for twin in twins)
        if not good or twins[0][1] != twins[1][1] or not _is_fold(twins[0][1]):
            both = " / ".join(line for _, line in lines[start : start + 2])
            raise PairsError(
                f"{origin}, line {lines[start][0]}: expected two lines `image fold` with the same "
                f"number, 0 for a pair of two people, found {both[:120]!r}"
            )
        fold = int(twins[0][1])
        rows.append((max(fold - 1, 0), twins[0][0], twins[1][0], fold > 0))
    pairs = Pairs.of(rows, "file") if rows else _folded(rows, origin, nrof_folds)
    if pairs.nrof_folds == 1:
        return _folded(rows, origin, nrof_folds)
    different = np.flatnonzero(~pairs.same)
    for fold, stretch in enumerate(np.array_split(different, pairs.nrof_folds)):
        pairs.fold[stretch] = fold
    return pairs


def read_cfp(folder: str) -> Pairs:
    """A protocol of CFP (Sengupta et al. 2016): the folder `Protocol/Split/FP` or `…/FF`.

    It holds a folder a fold, with `same.txt` and `diff.txt` of lines `i,j`: numbers in
    `Pair_list_F.txt` and, for FP, `Pair_list_P.txt` two folders up, which name the images.

    Raises:
        PairsError: a file is missing or malformed; the message says what was expected.
    """
    protocol = storage.absolute(folder)
    kind = posixpath.basename(protocol)
    if kind not in ("FF", "FP"):
        raise PairsError(
            f"{folder}: not a pairs file; of CFP give the folder Protocol/Split/FP or "
            "Protocol/Split/FF"
        )
    lists = posixpath.dirname(posixpath.dirname(protocol))
    first = _cfp_images(storage.join(lists, "Pair_list_F.txt"))
    second = first if kind == "FF" else _cfp_images(storage.join(lists, "Pair_list_P.txt"))
    names = [file[len(protocol) + 1 :] for file in storage.list_files(protocol)]
    split_names = (name.split("/") for name in names if not storage.is_system_file(name))
    folds = sorted({parts[0] for parts in split_names if parts[-1] in ("same.txt", "diff.txt")})
    rows = []
    for number, fold in enumerate(folds):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            file = storage.join(protocol, fold, name)
            for line_number, line in _lines(_read(file)):
                try:
                    a, b = (int(field) for field in line.split(","))
                    rows.append((number, first[a], second[b], same))
                except (ValueError, KeyError):
                    raise PairsError(
                        f"{file}, line {line_number}: expected `i,j`, numbers in the lists of "
                        f"images, found {line[:80]!r}"
                    ) from None
    if not rows:
        raise PairsError(f"{folder}: no folders 01, 02 … with same.txt and diff.txt in it")
    return Pairs.of(rows, "file")


def _cfp_images(file: str) -> Mapping[int, str]:
    images = {}
    for number, line in _lines(_read(file)):
        index, _, path = line.partition(" ")
        if not index.isdecimal() or not path.strip():
            raise PairsError(f"{file}, line {number}: expected `number path`, found {line[:80]!r}")
        parts = path.strip().replace("\\", "/").split("/")
        images[int(index)] = "/".join(part for part in parts if part not in ("", ".", ".."))
    return images


def _read(file: str) -> str:
    try:
        return files.decode(storage.read_bytes(file), file, PairsError)
    except FileNotFoundError:
        raise PairsError(f"{file}: no such file; it is part of CFP's Protocol folder") from None


def _lines(text: str) -> list[tuple[int, str]]:
    numbered = enumerate(text.splitlines(), 1)
    return [(number, line.strip()) for number, line in numbered if line.strip()]


def _is_fold(field: str) -> bool:
    return field.isascii() and field.isdecimal() and len(field) < 4


def _folded(rows: Sequence[tuple[int, str, str, bool]], origin: str, nrof_folds: int) -> Pairs:
    if not rows:
        raise PairsError(f"{origin}: holds no pairs")
    return with_folds(Pairs.of(rows, "file"), nrof_folds, origin)
