"""Pairs of images for verification: LFW's pairs files, and pairs drawn from any data set.

Both give `Pairs`. A file names images as `Name/Name_0001`; `resolve` finds the data set's images
behind those names.
"""

from __future__ import annotations

import itertools
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from facenet_core import storage
from facenet_core.errors import PairsError

_SHOWN = 5
# Above this share of all possible pairs, drawing until enough are new would take too long.
_CROWDED = 0.25


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, each with the fold of the cross-validation that tests it.

    Attributes:
        fold: int32 [n], numbered from 0.
        image_id_a: str objects [n].
        image_id_b: str objects [n].
        same: bool [n], whether both images show one person.
    """

    fold: np.ndarray
    image_id_a: np.ndarray
    image_id_b: np.ndarray
    same: np.ndarray

    def __len__(self) -> int:
        return len(self.fold)

    @property
    def nrof_folds(self) -> int:
        return int(self.fold.max()) + 1


def _pairs(rows: Sequence[tuple[int, str, str, bool]]) -> Pairs:
    fold, first, second, same = zip(*rows, strict=True)
    return Pairs(
        np.array(fold, np.int32),
        np.array(first, object),
        np.array(second, object),
        np.array(same, bool),
    )


# --- LFW's pairs files ------------------------------------------------------------------------


def read(uri: str, nrof_folds: int) -> Pairs:
    """Read a pairs file; see `parse`.

    Raises:
        PairsError: there is no such file, or it is malformed.
    """
    try:
        content = storage.read_bytes(uri)
    except (FileNotFoundError, NotADirectoryError):
        raise PairsError(
            f"{uri}: no such pairs file; expected one in LFW's format, or `generate`"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PairsError(f"{uri}: not a text file in UTF-8: {error}") from None
    return parse(text, uri, nrof_folds)


def parse(text: str, origin: str, nrof_folds: int) -> Pairs:
    """Understand LFW's pairs format (Huang et al. 2007, http://vis-www.cs.umass.edu/lfw/).

    View 2 (`pairs.txt`) starts with a line `folds TAB n`; each fold is n lines `Name 1 2` (two
    images of one person) and n lines `Name 1 Other 1` (of two). View 1 (`pairsDevTest.txt`) starts
    with a line `n`: n pairs of one person and n of two. It has no folds: each half is cut into
    `nrof_folds` equal stretches, and the i-th of both are fold i. A name with spaces needs tabs
    between the fields.

    Args:
        text: the file's content.
        origin: the file's name, for errors.
        nrof_folds: folds of a View 1 file; View 2 brings its own.

    Returns:
        Pairs in the file's order, with image ids `Name/Name_0001`, without extension.

    Raises:
        PairsError: naming file and line, and what was expected there.
    """
    lines = text.rstrip().splitlines()
    folds, half, stretches = _header(lines, origin, nrof_folds)
    expected = 2 * folds * half
    if len(lines) - 1 != expected:
        raise PairsError(
            f"{origin}: line 1 announces {folds} × ({half} pairs of one person + {half} of two), "
            f"{expected} lines; found {len(lines) - 1}"
        )
    rows = []
    for index, line in enumerate(lines[1:]):
        block, place = divmod(index, half)
        try:
            names = _same_pair(line) if block % 2 == 0 else _different_pair(line)
        except ValueError as error:
            raise PairsError(f"{origin}, line {index + 2}: {error}, found {line!r}") from None
        fold = block // 2 + place * stretches // half
        rows.append((fold, *names, block % 2 == 0))
    return _pairs(rows)


def _header(lines: Sequence[str], origin: str, nrof_folds: int) -> tuple[int, int, int]:
    """Folds in the file, pairs in each half of one, and stretches to cut the halves into."""
    first = lines[0] if lines else ""
    fields = first.split()
    if len(fields) not in (1, 2) or not all(
        int(field) if _is_number(field) else 0 for field in fields
    ):
        raise PairsError(
            f"{origin}, line 1: expected `folds n` (LFW View 2, such as `10 300`) or `n` (View 1), "
            f"found {first[:80]!r}"
        )
    numbers = [int(field) for field in fields]
    if len(numbers) == 2:
        return numbers[0], numbers[1], 1
    if numbers[0] < nrof_folds:
        raise PairsError(
            f"{origin}: {numbers[0]} pairs of each kind cannot fill {nrof_folds} folds; "
            f"set lfw_nrof_folds to at most {numbers[0]}"
        )
    return 1, numbers[0], nrof_folds


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


# --- From a file's names to a data set's images -----------------------------------------------


def resolve(
    pairs: Pairs, crops: Iterable[str], rejects: Iterable[str], origin: str
) -> tuple[Pairs, np.ndarray]:
    """Replace the names `Name/Name_0001` by the image ids of a data set.

    An image id belongs to a name if its last two path components are the name and any extension:
    `lfw/Name/Name_0001.jpg`.

    Args:
        pairs: as `read` gives them.
        crops: ids of all images that gave a crop; read once, need not fit into memory.
        rejects: ids of all images that gave none.
        origin: the pairs file's name, for errors.

    Returns:
        The pairs with image ids, and bool [n]: whether either image gave no crop.

    Raises:
        PairsError: names that are in neither, or that more than one image answers to.
    """
    wanted = {*pairs.image_id_a, *pairs.image_id_b}
    rejected = {image_id for image_id in rejects if _stem(image_id) in wanted}
    found: dict[str, set[str]] = defaultdict(set)
    for image_id in itertools.chain(crops, rejected):
        if (name := _stem(image_id)) in wanted:
            found[name].add(image_id)
    unknown = sorted(wanted - found.keys())
    if unknown:
        raise PairsError(
            f"{origin}: {len(unknown)} of {len(wanted)} images are in neither the crops nor the "
            f"rejects of the data set: {_first_few(unknown)}. Check that the pairs belong to it, "
            "and what its ingestion skipped"
        )
    ambiguous = sorted(image_id for ids in found.values() if len(ids) > 1 for image_id in ids)
    if ambiguous:
        raise PairsError(
            f"{origin}: images that differ only in folder or extension answer to one name: "
            f"{_first_few(ambiguous)}. Keep one of them"
        )
    ids = {name: next(iter(found[name])) for name in wanted}
    image_id_a = np.array([ids[name] for name in pairs.image_id_a], object)
    image_id_b = np.array([ids[name] for name in pairs.image_id_b], object)
    missing = [a in rejected or b in rejected for a, b in zip(image_id_a, image_id_b, strict=True)]
    resolved = replace(pairs, image_id_a=image_id_a, image_id_b=image_id_b)
    return resolved, np.array(missing, bool)


def _stem(image_id: str) -> str:
    return posixpath.splitext("/".join(image_id.split("/")[-2:]))[0]


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


# --- Pairs drawn from a data set --------------------------------------------------------------


def generate(identity_of: Mapping[str, str], nrof_folds: int, per_fold: int, seed: int) -> Pairs:
    """Draw balanced pairs whose folds share no people.

    As in LFW, people are drawn with equal chances, then their images, so that those with many
    images do not prevail. The same arguments give the same pairs, and no pair comes twice.

    Args:
        identity_of: the identity of each image id.
        nrof_folds: folds of the cross-validation.
        per_fold: pairs of one person, and again pairs of two, in each fold.
        seed: of everything random here.

    Raises:
        PairsError: too few people or images; says how many are needed.
    """
    rng = np.random.default_rng(seed)
    people: dict[str, list[str]] = defaultdict(list)
    for image_id, identity in sorted(identity_of.items()):
        people[identity].append(image_id)
    folds = _deal([people[identity] for identity in sorted(people)], nrof_folds, rng)
    if any(min(_same_capacity(fold), _different_capacity(fold)) < per_fold for fold in folds):
        raise PairsError(_too_few(people, nrof_folds, per_fold))
    rows = []
    for number, fold in enumerate(folds):
        rows += [(number, *pair, True) for pair in _draw_same(fold, per_fold, rng)]
        rows += [(number, *pair, False) for pair in _draw_different(fold, per_fold, rng)]
    return _pairs(rows)


_Person = list[str]
_TwoIds = tuple[str, str]


def _deal(
    people: Sequence[_Person], nrof_folds: int, rng: np.random.Generator
) -> list[list[_Person]]:
    """Deal people to folds, the largest first, to and fro: people and images are spread evenly."""
    shuffled = [people[index] for index in rng.permutation(len(people))]
    folds: list[list[_Person]] = [[] for _ in range(nrof_folds)]
    to_and_fro = itertools.cycle([*folds, *reversed(folds)])
    for person, fold in zip(sorted(shuffled, key=len, reverse=True), to_and_fro, strict=False):
        fold.append(person)
    return folds


def _same_capacity(fold: Sequence[_Person]) -> int:
    return sum(len(person) * (len(person) - 1) // 2 for person in fold)


def _different_capacity(fold: Sequence[_Person]) -> int:
    images = sum(map(len, fold))
    return (images**2 - sum(len(person) ** 2 for person in fold)) // 2


def _draw_same(fold: Sequence[_Person], count: int, rng: np.random.Generator) -> list[_TwoIds]:
    candidates = [person for person in fold if len(person) > 1]

    def draw() -> _TwoIds:
        person = candidates[rng.integers(len(candidates))]
        return _two_of(person, rng)

    def everything() -> list[_TwoIds]:
        return [pair for person in candidates for pair in itertools.combinations(person, 2)]

    return _distinct(draw, everything, _same_capacity(fold), count, rng)


def _draw_different(fold: Sequence[_Person], count: int, rng: np.random.Generator) -> list[_TwoIds]:
    def draw() -> _TwoIds:
        first, second = _two_of(fold, rng)
        return first[rng.integers(len(first))], second[rng.integers(len(second))]

    def everything() -> list[_TwoIds]:
        two_people = itertools.combinations(fold, 2)
        return [pair for people in two_people for pair in itertools.product(*people)]

    return _distinct(draw, everything, _different_capacity(fold), count, rng)


def _two_of(items: Sequence[Any], rng: np.random.Generator) -> tuple[Any, Any]:
    first = int(rng.integers(len(items)))
    second = int(rng.integers(len(items) - 1))
    return items[first], items[second + (second >= first)]


def _distinct(
    draw: Callable[[], _TwoIds],
    everything: Callable[[], list[_TwoIds]],
    capacity: int,
    count: int,
    rng: np.random.Generator,
) -> list[_TwoIds]:
    """`count` pairs, none twice in either order, out of `capacity` possible ones."""
    if count > _CROWDED * capacity:
        pairs = everything()
        return [pairs[index] for index in rng.choice(capacity, count, replace=False)]
    drawn: dict[frozenset[str], _TwoIds] = {}
    while len(drawn) < count:
        pair = draw()
        drawn.setdefault(frozenset(pair), pair)
    return list(drawn.values())


def _too_few(people: Mapping[str, _Person], nrof_folds: int, per_fold: int) -> str:
    each = max(2, len(people) // nrof_folds)
    needed = 2
    while min(each * needed * (needed - 1), each * (each - 1) * needed**2) < 2 * per_fold:
        needed += 1
    repeated = sum(len(person) > 1 for person in people.values())
    return (
        f"{per_fold} + {per_fold} pairs in each of {nrof_folds} folds, which share no people, "
        f"cannot be drawn from {len(people)} people ({repeated} with two images or more, "
        f"{sum(map(len, people.values()))} images in all); needed are at least "
        f"{each * nrof_folds} people with {needed} images each. Use more images, fewer folds "
        "(lfw_nrof_folds) or fewer pairs (pairs_per_fold)"
    )
