from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.training.samplers import rows_of_step, steps_per_epoch

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
