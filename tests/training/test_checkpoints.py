import numpy as np
import pytest

from facenet_core import storage
from facenet_core.training.checkpoints import Checkpoint, newest, save, uris

ARRAYS = (np.arange(6.0, dtype=np.float32).reshape(2, 3), np.array(7, np.int32))
SHAPES = [(2, 3), ()]


def write(root, run_id, step):
    save(root, run_id, Checkpoint(step, ARRAYS, {"rows": [step, None, 0.1]}), kept=2)


def test_gives_back_what_was_saved(root):
    write(root, "a", 12)
    checkpoint = newest(root, SHAPES)
    assert checkpoint.step == 12
    assert checkpoint.record == {"rows": [12, None, 0.1]}
    assert [array.dtype for array in checkpoint.arrays] == [np.float32, np.int32]
    for array, saved in zip(checkpoint.arrays, ARRAYS, strict=True):
        assert np.array_equal(array, saved)


def test_the_newest_of_all_attempts_is_taken(root):
    for run_id, step in [("a", 30), ("b", 100), ("c", 9)]:
        write(root, run_id, step)
    assert newest(root, SHAPES).step == 100


def test_an_attempt_keeps_its_last_two(root):
    write(root, "other", 1)
    for step in (5, 10, 15):
        write(root, "a", step)
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
def test_damage_is_noticed_and_the_one_before_taken(root, damage):
    write(root, "a", 1)
    write(root, "a", 2)
    storage.write_bytes(uris(root)[0], damage(storage.read_bytes(uris(root)[0])))
    assert newest(root, SHAPES).step == 1


@pytest.mark.parametrize("shapes", [SHAPES[:1], [(2, 3), (1,)]])
def test_one_of_other_variables_is_passed_over(root, shapes):
    write(root, "a", 1)
    assert newest(root, shapes) is None


def test_there_is_none_at_first(root):
    assert newest(root, SHAPES) is None
