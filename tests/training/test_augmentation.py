from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facenet_core.models.preprocessing import standardize
from facenet_core.training.augmentation import (
    ANGLE,
    BRIGHTNESS,
    CONTRAST,
    LEFT,
    MIRRORED,
    TOP,
    Augmentation,
    alter,
    central,
    draw,
    prepare,
)
from tests.support.engines import jax_on_cpus, run_program

EVERYTHING = Augmentation(
    8,
    random_rotate=True,
    random_crop=True,
    random_flip=True,
    random_brightness=0.2,
    random_contrast=0.3,
    random_cutout=4,
)


def noise(count=5, height=12, width=10):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def drawn_for(augmentation, step=0, seed=0, count=500):
    return draw(augmentation, seed, step, count, (12, 10))


@settings(max_examples=30)
@given(
    height=st.integers(4, 12),
    width=st.integers(4, 12),
    size=st.integers(1, 4),
    step=st.integers(0, 10**6),
    random_crop=st.booleans(),
    random_flip=st.booleans(),
)
def test_each_image_is_cut_at_its_own_place(height, width, size, step, random_crop, random_flip):
    images = noise(5, height, width)
    augmentation = Augmentation(size, random_crop=random_crop, random_flip=random_flip)
    drawn = draw(augmentation, 1, step, 5, (height, width))
    result = np.asarray(alter(images, drawn, augmentation))
    assert result.dtype == np.uint8
    for image, part, (top, left, mirrored) in zip(images, result, drawn[:, :3], strict=True):
        top, left = int(top), int(left)
        expected = image[top : top + size, left : left + size]
        assert np.array_equal(part, expected[:, ::-1] if mirrored else expected)


def test_random_places_cover_all_the_room():
    drawn = drawn_for(EVERYTHING)
    assert set(drawn[:, TOP]) == set(range(5))
    assert set(drawn[:, LEFT]) == set(range(3))
    assert 0.4 < drawn[:, MIRRORED].mean() < 0.6


@pytest.mark.parametrize(
    ("column", "low", "high"),
    [
        (ANGLE, -np.radians(10), np.radians(10)),
        (BRIGHTNESS, -0.2 * 255, 0.2 * 255),
        (CONTRAST, 0.7, 1.3),
    ],
)
def test_other_draws_fill_their_range(column, low, high):
    values = drawn_for(EVERYTHING)[:, column]
    assert low <= values.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < values.max() <= high


def test_what_is_done_is_a_function_of_seed_and_step():
    assert np.array_equal(drawn_for(EVERYTHING, step=3), drawn_for(EVERYTHING, step=3))
    assert not np.array_equal(drawn_for(EVERYTHING, step=3), drawn_for(EVERYTHING, step=4))
    assert not np.array_equal(drawn_for(EVERYTHING, seed=1), drawn_for(EVERYTHING, seed=2))


def test_turning_one_kind_on_leaves_the_others_as_they_were():
    only_crop = drawn_for(Augmentation(8, random_crop=True))
    assert np.array_equal(only_crop[:, [TOP, LEFT]], drawn_for(EVERYTHING)[:, [TOP, LEFT]])
    assert not only_crop[:, [MIRRORED, ANGLE, BRIGHTNESS]].any()


def test_central_shows_what_embedding_sees():
    images = noise(2, 12, 10)
    result = np.asarray(prepare(images, central(EVERYTHING, 2, (12, 10)), EVERYTHING))
    expected = np.asarray(standardize(images[:, 2:10, 1:9], fixed=False))
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("degrees", [-10, 3, 10])
def test_an_image_is_turned_about_its_centre(degrees):
    image = cv2.GaussianBlur(noise(1, 41, 41)[0], (9, 9), 3)
    augmentation = Augmentation(41, random_rotate=True)
    drawn = central(augmentation, 1, (41, 41))
    drawn[:, ANGLE] = np.radians(degrees)
    turn = cv2.getRotationMatrix2D((20, 20), degrees, 1)
    expected = cv2.warpAffine(image.astype(np.float32), turn, (41, 41))
    result = np.asarray(alter(image[None], drawn, augmentation))[0]
    np.testing.assert_allclose(result[2:-2, 2:-2], expected[2:-2, 2:-2], atol=4)
    if degrees == 10:
        assert not result[0, 0].any()  # from outside of the image, which is black


def test_light_stretches_pixels_around_their_mean_within_the_range():
    images = noise(1, 8, 8)
    augmentation = Augmentation(8, random_brightness=0.5, random_contrast=0.5)
    drawn = central(augmentation, 1, (8, 8))
    drawn[:, [BRIGHTNESS, CONTRAST]] = [30, 1.4]
    expected = np.clip((images - images.mean()) * 1.4 + images.mean() + 30, 0, 255)
    np.testing.assert_allclose(alter(images, drawn, augmentation), expected, atol=1e-2)


def test_cutout_blanks_a_square_of_the_standardised_image():
    images = noise(50, 8, 8)
    augmentation = Augmentation(8, random_cutout=4)
    drawn = draw(augmentation, 0, 0, 50, (8, 8))
    result = np.asarray(prepare(images, drawn, augmentation))
    whole = np.asarray(standardize(images, fixed=False))
    blank = (result == 0).all(axis=-1)
    assert np.array_equal(result[~blank], whole[~blank])
    sizes = {(b.any(axis=1).sum(), b.any(axis=0).sum()) for b in blank}
    assert max(sizes) == (4, 4)  # and smaller ones where it reaches over the edge
    assert min(sizes) >= (2, 2)
    assert all(b.sum() == b.any(axis=1).sum() * b.any(axis=0).sum() for b in blank)


COMPILE_FOR_FOUR_DEVICES = """
import jax
import numpy as np

from facenet_core.training.augmentation import Augmentation, central, prepare

changes = Augmentation(8, random_rotate=True, random_crop=True, random_brightness=0.2)
images = np.zeros((8, 12, 10, 3), np.uint8)
drawn = central(changes, len(images), images.shape[1:3])
by_rows = jax.sharding.NamedSharding(
    jax.make_mesh((4,), ("batch",)), jax.sharding.PartitionSpec("batch")
)
compiled = jax.jit(
    lambda images, drawn: prepare(images, drawn, changes), in_shardings=by_rows
).lower(images, drawn).compile()
print(compiled.as_text())
"""


@pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
def test_devices_that_share_a_batch_exchange_no_images():
    program = run_program(COMPILE_FOR_FOUR_DEVICES, jax_on_cpus(4))
    assert "num_partitions=4" in program
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in program
