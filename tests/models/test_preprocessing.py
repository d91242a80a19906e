import numpy as np
import pytest

from facenet_core.models.preprocessing import standardize


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8)


def test_each_image_gets_mean_0_and_deviation_1(images):
    images[1] //= 4
    result = np.asarray(standardize(images, fixed=False))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(result.std(axis=(1, 2, 3)), 1, rtol=1e-5)


def test_an_image_of_one_colour_becomes_zeros():
    assert not np.asarray(standardize(np.full((1, 8, 8, 3), 200, np.uint8), fixed=False)).any()


def test_contrast_below_the_bound_is_not_blown_up():
    image = np.full((1, 10, 10, 3), 100.0, np.float32)
    image[0, 0, 0, 0] += 0.1
    expected = (image - image.mean()) * np.sqrt(image.size)
    assert image.std() < 1 / np.sqrt(image.size)
    np.testing.assert_allclose(standardize(image, fixed=False), expected, atol=2e-3)


def test_fixed_standardization_is_the_same_for_all_images(images):
    expected = (images.astype(np.float32) - 127.5) / 128
    np.testing.assert_allclose(standardize(images, fixed=True), expected, atol=1e-6)
