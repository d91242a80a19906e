import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.config import TrainConfig
from facenet_core.errors import TrainingError
from facenet_core.training.input.people import select


def choose(counts, least=1, ratio=0.0, seed=0, least_held_out=0, near=None):
    """Select from people p0, p1 … with so many images each, mixed, names in reverse order."""
    names = [f"p{i}" for i in range(len(counts))][::-1]
    people = np.repeat(np.arange(len(counts))[::-1], counts)
    people = np.random.default_rng(3).permutation(people)
    config = TrainConfig(
        filter_min_nrof_images_per_class=least,
        validation_set_split_ratio=ratio,
        min_nrof_val_images_per_class=least_held_out,
        seed=seed,
    )
    selection = select(pa.array(names), people, config, near)
    return selection, np.array(names)[people]


def test_a_label_is_the_index_in_the_sorted_identities():
    selection, names = choose([3, 1, 2])
    assert selection.identities.to_pylist() == ["p0", "p1", "p2"]
    assert selection.identities.take(selection.labels).to_pylist() == names.tolist()
    assert selection.training.tolist() == list(range(6))
    assert selection.validation.size == 0


def test_people_with_few_images_are_left_out_and_labels_stay_dense():
    selection, names = choose([3, 1, 2], least=2)
    assert selection.identities.to_pylist() == ["p0", "p2"]
    assert (selection.labels[names == "p1"] == -1).all()
    assert names[selection.training].tolist() == [name for name in names if name != "p1"]


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=6),
    st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.9, 0.999]),
)
def test_of_each_person_the_share_is_held_out_but_never_all(counts, ratio):
    selection, names = choose(counts, ratio=ratio)
    for person, count in enumerate(counts):
        trained = int((names[selection.training] == f"p{person}").sum())
        held_out = int((names[selection.validation] == f"p{person}").sum())
        assert trained + held_out == count
        assert trained >= 1
        assert held_out == min(count - 1, int(np.ceil(round(count * ratio, 9))))


def test_what_is_held_out_is_a_function_of_the_seed():
    first, same, other = (choose([20, 20], ratio=0.3, seed=s)[0].validation for s in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("counts", "least"), [([5], 1), ([5, 2], 3), ([1, 1], 2)])
def test_fewer_than_two_people_are_an_error(counts, least):
    with pytest.raises(TrainingError, match="to tell people apart takes two"):
        choose(counts, least)


def test_of_people_with_few_images_none_are_held_out():
    selection, names = choose([9, 4, 5], ratio=0.3, least_held_out=5)
    assert set(names[selection.validation]) == {"p0", "p2"}
    assert (names[selection.training] == "p1").sum() == 4


def test_images_far_from_their_centre_are_left_out_before_people_are_counted():
    _, names = choose([3, 4, 5])
    near = np.ones(12, bool)
    near[np.flatnonzero(names == "p0")[:2]] = False
    near[np.flatnonzero(names == "p2")[0]] = False
    selection, _ = choose([3, 4, 5], least=2, near=near)
    assert selection.identities.to_pylist() == ["p1", "p2"]
    assert set(selection.training) == set(np.flatnonzero(near & (names != "p0")))
    assert (selection.labels[~near] == -1).all()
