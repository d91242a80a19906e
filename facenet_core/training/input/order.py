"""Which rows make which batch: functions of seed and step, so that resuming needs no state.

Training reads an endless stream: one pass after another, each in an order of its own. Batches are
cut from it without regard to where a pass ends, so all have the same size.

`Interleaving` is the order of crops streamed from storage, near to a shuffle and read piece by
piece: a pass takes the row groups of each part in an order of its own, one part after another in
turn, so that neighbours come from different parts. The sequence is cut into windows, which fit in
memory, and the images of each window are shuffled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Self

import numpy as np

# Row groups in a window, at least: of so many parts, where there are so many.
INTERLEAVED = 32
# Encoded images in a window, about. More mix better.
WINDOW_BYTES = 128 * 2**20
# What is drawn from the seed, for a stream; the functions on rows take other numbers.
_GROUPS, _ROWS = 5, 6


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows by class.

    Attributes:
        rows: int64 [n], those of class 0 first, then of class 1 …
        starts: int64 [classes + 1], where each class begins, and n.
    """

    rows: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray, nrof_classes: int) -> Self:
        """From rows int [n] and their labels int [n]."""
        sizes = np.bincount(labels, minlength=nrof_classes)
        order = np.argsort(labels, kind="stable")
        return cls(np.asarray(rows)[order], np.concatenate([[0], np.cumsum(sizes)]))

    @property
    def nrof_classes(self) -> int:
        return len(self.starts) - 1

    def of_class(self, label: int) -> np.ndarray:
        return self.rows[self.starts[label] : self.starts[label + 1]]


def rows_of_step(seed: int, step: int, batch_size: int, nrof_rows: int) -> np.ndarray:
    """Row numbers int64 [batch_size] of a step, counted from 0; each below `nrof_rows`.

    Every row is used once before any is used again. A batch larger than the data takes rows from
    several passes.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    passes = places // nrof_rows
    rows = np.empty(batch_size, np.int64)
    for number in np.unique(passes):
        of_pass = passes == number
        rows[of_pass] = _order(seed, int(number), nrof_rows)[places[of_pass] % nrof_rows]
    return rows


def balanced_rows_of_step(seed: int, step: int, batch_size: int, groups: Groups) -> np.ndarray:
    """Rows int64 [batch_size] of a step in which every class is as frequent as every other.

    A pass shows each class once, in an order of its own, and each time the next image of the
    class, all of them before any again.
    """
    rows = np.empty(batch_size, np.int64)
    for i, position in enumerate(range(step * batch_size, (step + 1) * batch_size)):
        number, turn = divmod(position, groups.nrof_classes)
        label = int(_order(seed, number, groups.nrof_classes)[turn])
        own = groups.of_class(label)
        round_of_class, image = divmod(number, len(own))
        order = np.random.default_rng([seed, label, round_of_class, 2]).permutation(len(own))
        rows[i] = own[order[image]]
    return rows


def people_of_round(
    seed: int, number: int, people: int, images_per_person: int, groups: Groups
) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 [n] and labels int64 [n] among which the triplets of a round are chosen.

    As in davidsandberg/facenet, people are taken in a random order, with `images_per_person`
    random images of each or all that there are, until there are people · images_per_person images;
    small classes therefore make it more people.
    """
    random = np.random.default_rng([seed, number, 3])
    room = people * images_per_person
    rows: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for label in random.permutation(groups.nrof_classes):
        own = random.permutation(groups.of_class(int(label)))[: min(images_per_person, room)]
        rows.append(own)
        labels.append(np.full(len(own), label))
        room -= len(own)
        if room == 0:
            break
    return np.concatenate(rows), np.concatenate(labels)


def steps_per_epoch(epoch_size: int | None, batch_size: int, nrof_rows: int) -> int:
    """`epoch_size`, or as many batches as cover all rows once."""
    return epoch_size if epoch_size is not None else math.ceil(nrof_rows / batch_size)


# One thread makes the order of a pass, which may take long, and the others wait for it.
_ordering = Lock()


def _order(seed: int, number: int, length: int) -> np.ndarray:
    """Int32 [length], a pass's order of rows or classes."""
    with _ordering:
        return _drawn_order(seed, number, length)


# Few, because only a pass that ends and the next are looked at, of rows and of classes.
@lru_cache(maxsize=4)
def _drawn_order(seed: int, number: int, length: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(np.arange(length, dtype=np.int32))


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass over all rows.

    Attributes:
        number: counted from 0.
        groups: int64 [groups], in their order.
        windows: int64 [windows + 1], place in `groups` where each begins, and their end.
        starts: int64 [windows + 1], place of its first image in the pass, and of all of them.
    """

    number: int
    groups: np.ndarray
    windows: np.ndarray
    starts: np.ndarray

    def of_window(self, window: int) -> np.ndarray:
        return self.groups[self.windows[window] : self.windows[window + 1]]


class Interleaving:
    """Rows and row groups of each step.

    Args:
        seed: of the order.
        rows: those to train on, int64, of each row group; groups without any are never read.
        part: int [groups], the part in which each lies.
        sizes: int [groups], bytes of each.
        window_bytes: what a window holds, about, if that is at least `INTERLEAVED` groups.
    """

    def __init__(
        self,
        seed: int,
        rows: list[np.ndarray],
        part: np.ndarray,
        sizes: np.ndarray,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._seed, self._rows, self._part, self._sizes = seed, rows, part, sizes
        self._counts = np.array([len(own) for own in rows], np.int64)
        self._used = np.flatnonzero(self._counts)
        self.nrof_rows = int(self._counts.sum())
        wanted = -(-int(sizes[self._used].sum()) // window_bytes)
        self._nrof_windows = max(1, min(wanted, len(self._used) // INTERLEAVED))
        # Few, because only the passes and windows of a step and the next are looked at.
        self._pass = lru_cache(maxsize=3)(self._pass_of_number)
        self._order = lru_cache(maxsize=4)(self._order_of_window)

    def rows_of_step(self, step: int, batch_size: int) -> np.ndarray:
        """Row numbers int64 [batch_size] of a step, counted from 0.

        Every row is used once before any is used again. A batch may end one pass and begin the
        next.
        """
        position, end = step * batch_size, (step + 1) * batch_size
        pieces = []
        while position < end:
            number, window, within = self._find(position)
            piece = self._order(number, window)[within : within + end - position]
            pieces.append(piece)
            position += len(piece)
        return np.concatenate(pieces)

    def groups_by_step(self, step: int, batch_size: int) -> list[int]:
        """Row groups that should be read by now, the most urgent first.

        Those of the step's window, and of the next one as large a share as is used up of this one
        and a little more, so that reading goes on evenly.
        """
        number, window, within = self._find(step * batch_size)
        here = self._pass(number)
        length = int(here.starts[window + 1] - here.starts[window])
        following = self._groups_after(number, window)
        share = min(1.0, 1.25 * (within + batch_size) / length)
        return [*here.of_window(window).tolist(), *following[: int(share * len(following))]]

    def largest_window(self) -> int:
        """Bytes of row groups that a window may hold: at most this much."""
        per_window = -(-len(self._used) // self._nrof_windows)
        return int(np.sort(self._sizes[self._used])[-per_window:].sum())

    def _find(self, position: int) -> tuple[int, int, int]:
        """Pass, window, and place in the window of a place in the endless stream."""
        number, within = divmod(position, self.nrof_rows)
        starts = self._pass(number).starts
        window = int(np.searchsorted(starts, within, side="right")) - 1
        return number, window, within - int(starts[window])

    def _groups_after(self, number: int, window: int) -> list[int]:
        if window + 1 < self._nrof_windows:
            return self._pass(number).of_window(window + 1).tolist()
        return self._pass(number + 1).of_window(0).tolist()

    def _pass_of_number(self, number: int) -> Pass:
        random = np.random.default_rng([self._seed, number, _GROUPS])
        shuffled = random.permutation(self._used)
        parts = self._part[shuffled]
        # Each part's groups count up; sorting by that count deals them out in turn. The parts
        # keep one order, so that as many groups in a row as there are parts are all of others.
        turn_of_part = random.permutation(int(parts.max()) + 1)
        count = np.empty(len(shuffled), np.int64)
        by_part = np.argsort(parts, kind="stable")
        begins = np.flatnonzero(np.diff(parts[by_part], prepend=-1))
        sizes = np.diff([*begins, len(parts)])
        count[by_part] = np.arange(len(parts)) - np.repeat(begins, sizes)
        groups = shuffled[np.lexsort([turn_of_part[parts], count])]
        windows = np.linspace(0, len(groups), self._nrof_windows + 1).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(self._counts[groups])])[windows]
        return Pass(number, groups, windows, starts)

    def _order_of_window(self, number: int, window: int) -> np.ndarray:
        rows = np.concatenate([self._rows[g] for g in self._pass(number).of_window(window)])
        return np.random.default_rng([self._seed, number, window, _ROWS]).permutation(rows)
