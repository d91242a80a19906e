"""Pairs of images for verification, whatever they come from, and the images behind their names.

`pairs_files` reads and writes them, `pairs_drawn` draws them from a data set. A file names images
as its format does (`Name/Name_0001`, `Name_0001.jpg`, a whole image id); `resolve` finds the
images of a data set that are meant.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from facenet_core.errors import PairsError
from facenet_core.imaging.formats import EXTENSIONS

# Where the folds come from: the file itself, the position of its pairs, a cut of each kind of
# pairs, or the drawing of pairs.
Folding = Literal["file", "position", "stratified", "drawn"]

_SHOWN = 5


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, each with the fold of the cross-validation that tests it.

    Attributes:
        fold: int32 [n], numbered from 0 without gaps.
        image_id_a: str objects [n].
        image_id_b: str objects [n].
        same: bool [n], whether both images show one person.
        folding: where the folds come from.
    """

    fold: np.ndarray
    image_id_a: np.ndarray
    image_id_b: np.ndarray
    same: np.ndarray
    folding: Folding = "file"

    @classmethod
    def of(cls, rows: Sequence[tuple[int, str, str, bool]], folding: Folding) -> Self:
        """From rows of fold, both image ids, and whether they are of one person."""
        fold, first, second, same = zip(*rows, strict=True)
        return cls(
            np.unique(np.array(fold), return_inverse=True)[1].astype(np.int32),
            np.array(first, object),
            np.array(second, object),
            np.array(same, bool),
            folding,
        )

    def __len__(self) -> int:
        return len(self.fold)

    @property
    def nrof_folds(self) -> int:
        return int(self.fold.max()) + 1


def with_folds(pairs: Pairs, nrof_folds: int, origin: str) -> Pairs:
    """Cut folds for pairs whose file has none.

    By position where each of `nrof_folds` equal stretches has pairs of both kinds (scikit-learn's
    `KFold` without shuffling, as davidsandberg/facenet and InsightFace cut their pairs); where the
    kinds follow one another, each kind is cut so, and the i-th stretches of both are fold i.

    Args:
        pairs: in the file's order.
        nrof_folds: how many folds to make.
        origin: the file's name, for errors.

    Raises:
        PairsError: one kind has fewer pairs than the number of folds.
    """
    same = pairs.same
    counts = (int(same.sum()), int((~same).sum()))
    if min(counts) < nrof_folds:
        raise PairsError(
            f"{origin}: {counts[0]} pairs of one person and {counts[1]} of two cannot fill "
            f"{nrof_folds} folds; set lfw_nrof_folds to at most {min(counts)}"
        )
    fold = np.empty(len(same), np.int32)
    for number, rows in enumerate(np.array_split(np.arange(len(same)), nrof_folds)):
        fold[rows] = number
    if all(len(np.unique(same[fold == number])) == 2 for number in range(nrof_folds)):
        return replace(pairs, fold=fold, folding="position")
    for kind in (True, False):
        for number, rows in enumerate(np.array_split(np.flatnonzero(same == kind), nrof_folds)):
            fold[rows] = number
    return replace(pairs, fold=fold, folding="stratified")


def resolve(
    pairs: Pairs, crops: Iterable[str], rejects: Iterable[str], origin: str
) -> tuple[Pairs, np.ndarray]:
    """Replace the names in a file by the image ids of a data set.

    A name is an image id, or the last components of its path (`Name/Name_0001`, `Name_0001.jpg`)
    with its extension, another one or none. An image id that equals the name comes first.

    Args:
        pairs: with the names in the file.
        crops: ids of all images with a crop; read once, need not fit into memory.
        rejects: ids of all images without one.
        origin: the pairs file's name, for errors.

    Returns:
        The pairs with image ids, and bool [n]: whether either image has no crop.

    Raises:
        PairsError: a name matches no image, or more than one.
    """
    first, second = (_as_ids(names) for names in (pairs.image_id_a, pairs.image_id_b))
    names = {*first, *second}
    stems = {_stem(name) for name in names}
    image_ids: dict[str, set[str]] = defaultdict(set)
    rejected = set()
    for image_id, is_reject in _labelled(crops, rejects):
        for end in _ends(_stem(image_id)):
            if end in stems:
                image_ids[end].add(image_id)
                if is_reject:
                    rejected.add(image_id)
    meant = {name: {name} & image_ids[_stem(name)] or image_ids[_stem(name)] for name in names}
    unknown = sorted(name for name, ids in meant.items() if not ids)
    if unknown:
        raise PairsError(
            f"{origin}: {len(unknown)} of {len(names)} images are in neither the crops nor the "
            f"rejects of the data set: {_first_few(unknown)}. Check that the pairs belong to it, "
            "and what its ingestion skipped"
        )
    ambiguous = sorted(image_id for ids in meant.values() if len(ids) > 1 for image_id in ids)
    if ambiguous:
        raise PairsError(
            f"{origin}: images that differ only in folder or extension answer to one name: "
            f"{_first_few(ambiguous)}. Keep one of them, or name images by their whole image ids"
        )
    image_of = {name: next(iter(ids)) for name, ids in meant.items()}
    image_id_a = np.array([image_of[name] for name in first], object)
    image_id_b = np.array([image_of[name] for name in second], object)
    missing = [a in rejected or b in rejected for a, b in zip(image_id_a, image_id_b, strict=True)]
    resolved = replace(pairs, image_id_a=image_id_a, image_id_b=image_id_b)
    return resolved, np.array(missing, bool)


def _labelled(crops: Iterable[str], rejects: Iterable[str]) -> Iterator[tuple[str, bool]]:
    yield from ((image_id, False) for image_id in crops)
    yield from ((image_id, True) for image_id in rejects)


def _as_ids(names: Iterable[str]) -> list[str]:
    """Names in a file as image ids are written: in NFC and, from Windows, too, with plain `/`."""
    return [unicodedata.normalize("NFC", name.replace("\\", "/")) for name in names]


def _stem(name: str) -> str:
    stem, extension = posixpath.splitext(name)
    return stem if extension.lower() in EXTENSIONS else stem + extension


def _ends(path: str) -> Iterator[str]:
    """`a/b/c`, `b/c` and `c` of `a/b/c`."""
    yield path
    slash = path.find("/")
    while slash >= 0:
        yield path[slash + 1 :]
        slash = path.find("/", slash + 1)


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
