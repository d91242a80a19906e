from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.training.input.order import (
    Groups,
    balanced_rows_of_step,
    people_of_round,
    rows_of_step,
    steps_per_epoch,
)

SIZES = {"batch_size": st.integers(1, 40), "nrof_rows": st.integers(1, 30)}


@given(**SIZES, passes=st.integers(1, 3))
def test_every_row_is_used_once_before_any_is_used_again(batch_size, nrof_rows, passes):
    steps = -(-passes * nrof_rows // batch_size)
    stream = np.concatenate([rows_of_step(7, s, batch_size, nrof_rows) for s in range(steps)])
    used = Counter(stream[: passes * nrof_rows].tolist())
    assert used == dict.fromkeys(range(nrof_rows), passes)


@given(**SIZES, step=st.integers(0, 1000))
def test_a_step_needs_no_earlier_one(batch_size, nrof_rows, step):
    rows = rows_of_step(7, step, batch_size, nrof_rows)
    for other in (0, step + 5):
        rows_of_step(7, other, batch_size, nrof_rows)
    assert np.array_equal(rows, rows_of_step(7, step, batch_size, nrof_rows))
    assert rows.shape == (batch_size,)


def test_each_pass_and_seed_has_its_own_order():
    orders = [rows_of_step(seed, step, 50, 50).tolist() for seed in (1, 2) for step in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize(
    ("epoch_size", "rows", "steps"), [(1000, 5, 1000), (None, 90, 9), (None, 91, 10), (None, 1, 1)]
)
def test_an_epoch_is_as_long_as_asked_or_one_pass(epoch_size, rows, steps):
    assert steps_per_epoch(epoch_size, 10, rows) == steps


SIZES_OF_CLASSES = [1, 5, 3, 2]
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), SIZES_OF_CLASSES))
GROUPS = Groups.of(np.arange(11) + 100, LABELS, 4)


def test_groups_hold_the_rows_of_their_class():
    for label in range(4):
        assert sorted(GROUPS.of_class(label)) == (np.flatnonzero(label == LABELS) + 100).tolist()


@given(batch_size=st.integers(1, 9), first=st.integers(0, 50))
def test_balanced_batches_show_each_class_equally_often(batch_size, first):
    stream = np.concatenate(
        [balanced_rows_of_step(3, step, batch_size, GROUPS) for step in range(60)]
    )
    labels = LABELS[stream - 100]
    passes = len(stream) // 4
    assert all((labels[: passes * 4].reshape(-1, 4) == label).sum() == passes for label in range(4))
    again = balanced_rows_of_step(3, first, batch_size, GROUPS)
    assert np.array_equal(again, stream[first * batch_size : (first + 1) * batch_size])


def test_balanced_batches_use_all_images_of_a_class_before_any_again():
    stream = np.concatenate([balanced_rows_of_step(3, step, 4, GROUPS) for step in range(30)])
    for label, size in enumerate(SIZES_OF_CLASSES):
        own = stream[LABELS[stream - 100] == label]
        for start in range(0, 30 - size + 1, size):
            assert len(set(own[start : start + size])) == size


def test_a_round_of_triplets_has_so_many_images_of_each_person():
    rows, labels = people_of_round(0, 0, people=2, images_per_person=3, groups=GROUPS)
    assert len(rows) == len(set(rows)) == 6
    assert np.array_equal(LABELS[rows - 100], labels)
    assert np.bincount(labels).max() <= 3


def test_a_round_takes_more_people_where_they_have_few_images_and_all_at_most():
    rows, labels = people_of_round(0, 0, people=4, images_per_person=5, groups=GROUPS)
    assert (len(rows), len(set(labels))) == (11, 4)


def test_rounds_differ_and_are_functions_of_their_seed():
    rounds = [
        people_of_round(seed, number, 2, 3, GROUPS)[0].tolist()
        for seed, number in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert rounds[0] == rounds[1]
    assert rounds[0] not in rounds[2:]
