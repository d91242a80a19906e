import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.datasets.pairs import generate
from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.errors import PairsError


def people(nrof: int, images: int) -> dict[str, str]:
    return {f"P{p}/P{p}_{i:04d}.jpg": f"P{p}" for p in range(nrof) for i in range(images)}


def in_fold(drawn: Pairs, fold: int) -> set[str]:
    rows = drawn.fold == fold
    return {*drawn.image_id_a[rows], *drawn.image_id_b[rows]}


@pytest.mark.parametrize(
    "identity_of",
    [
        people(30, 10),
        people(20, 8),  # just enough
        people(12, 10) | {f"single/{n}.jpg": f"single {n}" for n in range(500)},
    ],
    ids=["plenty", "just enough", "many people with one image"],
)
def test_generated_pairs_are_balanced_and_folds_share_no_people(identity_of):
    nrof_folds = 10 if len(identity_of) < 500 else 4
    drawn = generate.generate(identity_of, nrof_folds, per_fold=50, seed=0)
    assert np.bincount(drawn.fold[drawn.same]).tolist() == [50] * nrof_folds
    assert np.bincount(drawn.fold[~drawn.same]).tolist() == [50] * nrof_folds
    both = list(zip(drawn.image_id_a, drawn.image_id_b, drawn.same, strict=True))
    assert all((identity_of[a] == identity_of[b]) == same for a, b, same in both)
    assert len({frozenset((a, b)) for a, b, _ in both}) == len(drawn)
    assert all(a != b for a, b, _ in both)
    for one, other in itertools.combinations(range(nrof_folds), 2):
        seen = ({identity_of[i] for i in in_fold(drawn, fold)} for fold in (one, other))
        assert not set.intersection(*seen)


def test_people_with_one_image_are_spread_over_the_folds():
    identity_of = people(4, 10) | {f"single/{n}.jpg": f"single {n}" for n in range(100)}
    drawn = generate.generate(identity_of, 2, per_fold=40, seed=0)
    for fold in range(2):
        assert sum(image.startswith("single/") for image in in_fold(drawn, fold)) > 20


def test_a_person_with_many_images_does_not_prevail():
    identity_of = people(20, 10) | {f"X/X_{n:04d}.jpg": "X" for n in range(500)}
    drawn = generate.generate(identity_of, 2, per_fold=50, seed=0)
    assert sum(identity_of[a] == "X" for a in drawn.image_id_a[drawn.same]) < 20


def test_generated_pairs_depend_on_nothing_but_images_and_seed():
    identity_of = people(30, 10)
    reversed_order = dict(reversed(identity_of.items()))
    first = generate.generate(identity_of, 10, 50, seed=1)
    again = generate.generate(reversed_order, 10, 50, seed=1)
    other = generate.generate(identity_of, 10, 50, seed=2)
    assert first.image_id_a.tolist() == again.image_id_a.tolist()
    assert first.image_id_b.tolist() == again.image_id_b.tolist()
    assert first.image_id_a.tolist() != other.image_id_a.tolist()


@pytest.mark.parametrize(
    ("nrof", "images", "needed"),
    [
        (5, 10, "20 people with 8 images"),
        (0, 0, "20 people with 8 images"),
        (50, 1, "50 people with 5 images"),
        (20, 7, "20 people with 8 images"),
    ],
)
def test_too_few_people_or_images_are_refused_with_what_is_needed(nrof, images, needed):
    with pytest.raises(PairsError, match=f"from {nrof} people .*needed are at least {needed}"):
        generate.generate(people(nrof, images), 10, 50, seed=0)


@given(st.integers(2, 5), st.integers(1, 30), st.integers(0, 12), st.integers(0, 6))
def test_what_the_refusal_asks_for_is_enough(nrof_folds, per_fold, nrof, images):
    try:
        generate.generate(people(nrof, images), nrof_folds, per_fold, seed=0)
    except PairsError as error:
        words = str(error).split("at least ")[1].split()
        enough = people(int(words[0]), int(words[3]))
        assert (
            len(generate.generate(enough, nrof_folds, per_fold, seed=0))
            == 2 * nrof_folds * per_fold
        )


def test_the_most_that_can_be_drawn_is_said_and_can_be_drawn():
    identity_of = people(10, 4)
    with pytest.raises(PairsError, match="12 \\+ 12 are there"):
        generate.generate(identity_of, 5, 13, seed=0)
    assert len(generate.generate(identity_of, 5, 12, seed=0)) == 2 * 5 * 12
