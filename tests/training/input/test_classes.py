"""Which classes take part in a step: those of its images, and a share of the others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.training.input.classes import ClassSample

sizes = st.integers(1, 300)
shards = st.sampled_from([1, 2, 3, 8])


def classes_of(sample, classes):
    """The classes at the places that are not empty, and all places: the class or −1."""
    rows, room = sample.rows_of_shard, sample.places_of_shard
    shard = np.arange(sample.places) // room
    at_place = np.where(classes < rows, classes + shard * rows, -1)
    return at_place[at_place >= 0], at_place


@given(sizes, st.floats(0.01, 0.99), st.integers(0, 2**31), shards, st.data())
def test_each_image_finds_its_class_and_no_class_is_there_twice(
    nrof_classes, rate, step, nrof_shards, data
):
    label = st.integers(0, nrof_classes - 1)
    labels = np.array(data.draw(st.lists(label, min_size=1, max_size=20)), np.int32)
    sample = ClassSample(nrof_classes, rate, len(labels), seed=3, shards=nrof_shards)
    classes, places = sample.of_step(step, labels)
    present, at_place = classes_of(sample, classes)
    assert np.array_equal(at_place[places], labels)
    assert len(set(present.tolist())) == len(present)
    assert present.max() < nrof_classes


@given(sizes, st.floats(0.01, 0.99), shards)
def test_they_are_the_same_however_they_are_divided(nrof_classes, rate, nrof_shards):
    labels = np.array([0, nrof_classes - 1])
    one = ClassSample(nrof_classes, rate, 2, seed=3)
    several = ClassSample(nrof_classes, rate, 2, seed=3, shards=nrof_shards)
    there, _ = classes_of(one, one.of_step(5, labels)[0])
    divided, _ = classes_of(several, several.of_step(5, labels)[0])
    assert sorted(there) == sorted(divided)


def test_as_many_of_the_others_as_the_rate_says_and_others_at_each_step():
    sample = ClassSample(20_000, 0.1, 4, seed=3)
    first, second = (
        set(classes_of(sample, sample.of_step(step, np.array([7, 8, 9, 9]))[0])[0].tolist())
        for step in (1, 2)
    )
    assert 1800 < len(first) < 2200
    assert {7, 8, 9} <= first & second
    assert 100 < len(first & second) < 300
