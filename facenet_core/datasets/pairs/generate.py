"""Generate pairs from a data set: balanced, in folds that share no people."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.errors import PairsError

# Above this share of all possible pairs, drawing until enough are new would take too long.
_CROWDED = 0.25

_Person = list[str]
_TwoIds = tuple[str, str]


def generate(identity_of: Mapping[str, str], nrof_folds: int, per_fold: int, seed: int) -> Pairs:
    """Draw balanced pairs whose folds share no people.

    As in LFW, people are drawn with equal probability, then their images, so that people with many
    images do not dominate. The same arguments give the same pairs, and no pair is repeated.

    Args:
        identity_of: the identity of each image id.
        nrof_folds: number of folds of the cross-validation.
        per_fold: number of pairs of the same person in each fold, and as many of different people.
        seed: random seed.

    Raises:
        PairsError: too few people or images; the message says how many are needed.
    """
    rng = np.random.default_rng(seed)
    people: dict[str, list[str]] = defaultdict(list)
    for image_id, identity in sorted(identity_of.items()):
        people[identity].append(image_id)
    folds = _deal([people[identity] for identity in sorted(people)], nrof_folds, rng)
    most = min(min(_same_capacity(fold), _different_capacity(fold)) for fold in folds)
    if most < per_fold:
        raise PairsError(_too_few(people, nrof_folds, per_fold, most))
    rows = []
    for number, fold in enumerate(folds):
        rows += [(number, *pair, True) for pair in _draw_same(fold, per_fold, rng)]
        rows += [(number, *pair, False) for pair in _draw_different(fold, per_fold, rng)]
    return Pairs.of(rows, "drawn")


def _deal(
    people: Sequence[_Person], nrof_folds: int, rng: np.random.Generator
) -> list[list[_Person]]:
    """Deal people to folds, largest first, back and forth, to spread people and images evenly."""
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


def _too_few(people: Mapping[str, _Person], nrof_folds: int, per_fold: int, most: int) -> str:
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
        f"or fewer pairs a fold: {most} + {most} are there"
    )
