"""Rows are brought to hand, trained there, and put back; the others stay as they are."""

import keras
import numpy as np
import pytest

from facenet_core.training.engine.exchange import Exchange, write_rows

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="under JAX, `test_sharing.py` does this"
)
EMPTY = 6


@pytest.fixture
def variables():
    whole = [keras.Variable(np.arange(12.0).reshape(6, 2)), keras.Variable(np.arange(6.0))]
    trained = [keras.Variable(np.zeros((3, 2))), keras.Variable(np.zeros(3))]
    return whole, trained


def test_what_is_at_hand_changes_and_nothing_else(variables):
    whole, trained = variables
    before = np.array(whole[0])
    exchange = Exchange(whole, trained, shards=1)
    exchange.bring(np.array([4, 1, EMPTY], np.int32))
    np.testing.assert_array_equal(np.array(trained[0])[:2], before[[4, 1]])
    np.testing.assert_array_equal(np.array(trained[1])[:2], [4, 1])
    for variable in trained:
        variable.assign(variable + 100)
    exchange.bring(np.array([4, EMPTY, 0], np.int32))
    np.testing.assert_array_equal(np.array(trained[0])[[0, 2]], [before[4] + 100, before[0]])
    exchange.put_back()
    changed = before.copy()
    changed[[4, 1]] += 100
    np.testing.assert_array_equal(whole[0], changed)
    np.testing.assert_array_equal(whole[1], [0, 101, 2, 3, 104, 5])


def test_values_that_others_give_are_not_overwritten(variables):
    whole, trained = variables
    exchange = Exchange(whole, trained, shards=1)
    exchange.bring(np.array([0, 1, 2], np.int32))
    exchange.put_back()
    whole[1].assign(np.full(6, 9.0))
    exchange.bring(np.array([0, 1, 5], np.int32))
    exchange.put_back()
    np.testing.assert_array_equal(whole[1], np.full(6, 9.0))


def test_rows_that_are_named_twice_are_written_and_the_others_stay():
    variable = keras.Variable(np.zeros((4, 2)))
    write_rows(variable, np.array([1, 3, 1]), np.array([[5.0, 6], [7, 8], [5, 6]], np.float32))
    np.testing.assert_array_equal(variable, [[0, 0], [5, 6], [0, 0], [7, 8]])
