import keras
import numpy as np
import pytest

from facenet_core import storage
from facenet_core.training.checkpoints import Checkpoint, newest, save, uris, values


@pytest.fixture
def variables():
    return [keras.Variable(np.arange(6.0, dtype=np.float32).reshape(2, 3)), keras.Variable(7)]


def write(root, run_id, step, variables):
    save(root, run_id, Checkpoint(step, values(variables), {"rows": [step, None, 0.1]}), kept=2)


def test_gives_back_what_was_saved(root, variables):
    write(root, "a", 12, variables)
    checkpoint = newest(root, variables)
    assert checkpoint.step == 12
    assert checkpoint.record == {"rows": [12, None, 0.1]}
    assert [array.dtype for array in checkpoint.arrays] == [np.float32, np.int32]
    for array, variable in zip(checkpoint.arrays, variables, strict=True):
        assert np.array_equal(array, np.asarray(variable))


def test_the_newest_of_all_attempts_is_taken(root, variables):
    for run_id, step in [("a", 30), ("b", 100), ("c", 9)]:
        write(root, run_id, step, variables)
    assert newest(root, variables).step == 100


def test_an_attempt_keeps_its_last_two(root, variables):
    write(root, "other", 1, variables)
    for step in (5, 10, 15):
        write(root, "a", step, variables)
    names = [uri.removeprefix(f"{root}/attempts/") for uri in uris(root)]
    assert names == [
        "a/checkpoints/step-000000015.npz",
        "a/checkpoints/step-000000010.npz",
        "other/checkpoints/step-000000001.npz",
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:150] + b"\xff" + data[151:],
        lambda data: b"x" * len(data),
    ],
)
def test_damage_is_noticed_and_the_one_before_taken(root, variables, damage):
    write(root, "a", 1, variables)
    write(root, "a", 2, variables)
    storage.write_bytes(uris(root)[0], damage(storage.read_bytes(uris(root)[0])))
    assert newest(root, variables).step == 1


def test_one_of_other_variables_is_passed_over(root, variables):
    write(root, "a", 1, variables)
    assert newest(root, variables[:1]) is None
    assert newest(root, [*variables[:1], keras.Variable([1])]) is None


def test_there_is_none_at_first(root, variables):
    assert newest(root, variables) is None
