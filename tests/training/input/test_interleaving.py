"""The order of images that are read straight from storage."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.training.input.order import INTERLEAVED, Interleaving

BATCH = 7


def build(counts, parts=None, window_bytes=1000, seed=7):
    """Groups with so many rows of 100 bytes, dealt out to parts of three groups each."""
    edges = np.cumsum([0, *counts])
    rows = [np.arange(a, b) for a, b in pairwise(edges)]
    part = np.arange(len(counts)) // 3 if parts is None else np.array(parts)
    return Interleaving(seed, rows, part, np.array(counts) * 100, window_bytes)


def stream(order, places):
    steps = range(-(-places // BATCH))
    return np.concatenate([order.rows_of_step(step, BATCH) for step in steps])[:places]


@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=150).filter(any),
    passes=st.integers(1, 3),
    window_bytes=st.sampled_from([1, 5000, 10**9]),
)
def test_every_row_is_used_once_before_any_is_used_again(counts, passes, window_bytes):
    order = build(counts, window_bytes=window_bytes)
    used = Counter(stream(order, passes * sum(counts)).tolist())
    assert used == dict.fromkeys(range(sum(counts)), passes)


@given(step=st.integers(0, 500), others=st.lists(st.integers(0, 500), max_size=4))
def test_a_step_needs_no_earlier_one(step, others):
    expected = build([5] * 90).rows_of_step(step, BATCH)
    order = build([5] * 90)
    for other in others:
        order.rows_of_step(other, BATCH)
    assert np.array_equal(order.rows_of_step(step, BATCH), expected)


def test_each_pass_and_seed_has_its_own_order():
    orders = []
    for seed in (1, 2):
        twice = stream(build([5] * 90, seed=seed), 900).tolist()
        orders += [twice[:450], twice[450:]]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("nrof_parts", [40, 33])
def test_a_window_mixes_row_groups_of_at_least_32_parts(nrof_parts):
    groups = nrof_parts * 8
    order = build([4] * groups, parts=np.arange(groups) // 8, window_bytes=1)
    rows = stream(order, 4 * groups)
    windows = groups // INTERLEAVED
    assert windows >= 8
    # Windows may differ by one row group; look well inside of each.
    for window in range(windows):
        start = round(window * len(rows) / windows)
        parts = rows[start : start + 4 * INTERLEAVED] // 4 // 8
        assert len(set(parts.tolist())) >= 30
    assert len(set((rows[: 4 * INTERLEAVED] // 32).tolist())) >= INTERLEAVED


def test_few_parts_are_all_mixed():
    order = build([4] * 96, parts=np.arange(96) // 32, window_bytes=1)
    first_window = stream(order, 4 * INTERLEAVED)
    assert Counter((first_window // 4 // 32).tolist()).keys() == {0, 1, 2}


def test_images_of_a_window_are_shuffled():
    rows = stream(build([50] * 32), 1600)
    neighbours = np.abs(np.diff(rows)) == 1
    assert neighbours.mean() < 0.02


def test_row_groups_are_asked_for_before_their_images():
    order = build([6] * 120, window_bytes=1)
    asked = set()
    late = 0
    for step in range(300):
        first = {int(row) // 6 for row in order.rows_of_step(step, BATCH)}
        late += len(first - asked)
        asked = set(order.groups_by_step(step, BATCH))
        assert len(asked) <= 2 * 40
    # Only what the very first window needs was not read by the step before.
    assert late <= BATCH


def test_a_window_is_as_large_as_the_memory_it_may_take():
    order = build([6] * 300, window_bytes=60_000)
    assert 60_000 <= order.largest_window() <= 66_000
    assert build([6] * 300, window_bytes=1).largest_window() <= 600 * 34
