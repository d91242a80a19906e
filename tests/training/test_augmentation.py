import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.training.augmentation import central_placements, cut, draw_placements


@given(
    height=st.integers(4, 12),
    width=st.integers(4, 12),
    size=st.integers(1, 4),
    step=st.integers(0, 10**6),
    random_crop=st.booleans(),
    random_flip=st.booleans(),
)
def test_each_image_is_cut_at_its_own_place(height, width, size, step, random_crop, random_flip):
    images = np.random.default_rng(0).integers(0, 256, (5, height, width, 3), np.uint8)
    placements = draw_placements(
        1, step, 5, (height, width), size, random_crop=random_crop, random_flip=random_flip
    )
    result = np.asarray(cut(images, placements, size))
    assert result.dtype == np.uint8
    for image, part, (top, left, mirrored) in zip(images, result, placements, strict=True):
        expected = image[top : top + size, left : left + size]
        assert np.array_equal(part, expected[:, ::-1] if mirrored else expected)


def draw(step=0, seed=0, **options):
    options = {"random_crop": True, "random_flip": True, **options}
    return draw_placements(seed, step, 500, (12, 10), 8, **options)


def test_random_places_cover_all_the_room():
    placements = draw()
    assert set(placements[:, 0]) == set(range(5))
    assert set(placements[:, 1]) == set(range(3))
    assert 0.4 < placements[:, 2].mean() < 0.6


def test_places_are_a_function_of_seed_and_step():
    assert np.array_equal(draw(step=3), draw(step=3))
    assert not np.array_equal(draw(step=3), draw(step=4))
    assert not np.array_equal(draw(seed=1), draw(seed=2))


@pytest.mark.parametrize("column", [0, 1])
def test_without_random_crop_the_centre_is_used(column):
    room = (12 - 8, 10 - 8)[column]
    assert set(draw(random_crop=False)[:, column]) == {room // 2}


def test_flipping_leaves_the_places_as_they_were():
    assert np.array_equal(draw(random_flip=False)[:, :2], draw()[:, :2])
    assert not draw(random_flip=False)[:, 2].any()


def test_central_placements_cut_what_embedding_sees():
    images = np.arange(2 * 7 * 9 * 3).reshape(2, 7, 9, 3).astype(np.uint8)
    part = np.asarray(cut(images, central_placements(2, (7, 9), 4), 4))
    assert np.array_equal(part, images[:, 1:5, 2:6])
