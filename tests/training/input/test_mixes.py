import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core import storage
from facenet_core.training.input import cache
from facenet_core.training.input.mixes import Mixes
from tests.support.small_crops import write_crops

SIZE = (36, 36)


@given(
    rows=st.lists(st.integers(0, 10**9), min_size=2, max_size=20, unique=True),
    count=st.integers(0, 50),
    seed=st.integers(0, 2**32),
)
def test_each_is_of_two_photographs_of_which_neither_is_hidden(rows, count, seed):
    mixes = Mixes.draw(np.array(rows), count, seed)
    assert len(mixes) == count
    assert np.isin(mixes.rows, rows).all()
    assert (mixes.rows[:, 0] != mixes.rows[:, 1]).all()
    assert ((mixes.shares >= 0.35 - 1e-6) & (mixes.shares <= 0.65 + 1e-6)).all()
    again = Mixes.draw(np.array(rows), count, seed)
    np.testing.assert_array_equal(again.rows, mixes.rows)


@pytest.fixture
def crops(root):
    return cache.open_copy(storage.open_artifact(write_crops(root, {"Ann": 3, "Bob": 3}), "align"))


def test_photographs_stay_and_behind_them_come_mixes(crops):
    mixes = Mixes(
        np.array([[0, 5], [4, 1]]), np.array([0.5, 0.25], np.float32), np.array([False, True])
    )
    own = crops.decode_rows(range(6), SIZE).astype(float)
    images = mixes.decode_rows(crops, np.array([7, 2, 6, 2]), SIZE)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[[1, 3]], own[[2, 2]])
    mirrored = own[1][:, ::-1]
    expected = [0.25 * own[4] + 0.75 * mirrored, 0.5 * own[0] + 0.5 * own[5]]
    np.testing.assert_allclose(images[[0, 2]], expected, atol=0.5)
    np.testing.assert_array_equal(mixes.decode_rows(crops, np.arange(6), SIZE), own)


def test_other_crops_of_the_photographs_have_the_same_mixes(crops):
    mixes = Mixes.draw(np.arange(6), 4, 0)
    turned = mixes.of_others(np.arange(6)[::-1])
    np.testing.assert_array_equal(turned.rows, 5 - mixes.rows)
    np.testing.assert_array_equal(turned.shares, mixes.shares)
