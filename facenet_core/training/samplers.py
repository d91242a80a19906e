"""Which rows make which batch: functions of seed and step, so that resuming needs no state.

Training reads an endless stream: one pass over all rows after another, each in an order of its
own. Batches are cut from it without regard to where a pass ends, so all have the same size, and
every row is used once before any is used again.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


def rows_of_step(seed: int, step: int, batch_size: int, nrof_rows: int) -> np.ndarray:
    """Row numbers int64 [batch_size] of a step, counted from 0; each below `nrof_rows`.

    A batch larger than the data takes rows from several passes.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    passes = places // nrof_rows
    rows = np.empty(batch_size, np.int64)
    for number in np.unique(passes):
        of_pass = passes == number
        rows[of_pass] = _order_of_pass(seed, int(number), nrof_rows)[places[of_pass] % nrof_rows]
    return rows


def steps_per_epoch(epoch_size: int | None, batch_size: int, nrof_rows: int) -> int:
    """`epoch_size`, or as many batches as cover all rows once."""
    return epoch_size if epoch_size is not None else math.ceil(nrof_rows / batch_size)


# Two passes, because a batch may end one and begin the next.
@lru_cache(maxsize=2)
def _order_of_pass(seed: int, number: int, nrof_rows: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(nrof_rows)
