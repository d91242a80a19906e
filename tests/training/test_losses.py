import numpy as np
import pytest

from facenet_core.training import losses

RANDOM = np.random.default_rng(0)
PRELOGITS = RANDOM.normal(size=(6, 4)).astype(np.float32)
CENTERS = RANDOM.normal(size=(5, 4)).astype(np.float32)
LABELS = np.array([0, 3, 3, 1, 3, 0], np.int32)


def test_cross_entropy_is_minus_the_log_probability_of_the_label():
    logits = RANDOM.normal(size=(6, 5)).astype(np.float32)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(probability[np.arange(6), LABELS])
    np.testing.assert_allclose(losses.cross_entropy(logits, LABELS), expected, rtol=1e-5)


def test_center_loss_is_the_mean_over_batch_and_dimensions():
    expected = np.mean((PRELOGITS - CENTERS[LABELS]) ** 2)
    found = losses.center_loss(PRELOGITS, LABELS, CENTERS)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("alfa", [0.0, 0.5, 0.95, 1.0])
def test_every_image_pulls_its_center_and_pulls_of_one_class_add_up(alfa):
    expected = CENTERS.copy()
    for feature, label in zip(PRELOGITS, LABELS, strict=True):
        expected[label] -= (1 - alfa) * (CENTERS[label] - feature)
    found = np.asarray(losses.moved_centers(PRELOGITS, LABELS, CENTERS, alfa))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_centers_of_absent_classes_stay():
    found = np.asarray(losses.moved_centers(PRELOGITS, LABELS, CENTERS, 0.5))
    assert np.array_equal(found[[2, 4]], CENTERS[[2, 4]])


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_prelogits_norm_is_the_mean_p_norm(p):
    expected = np.mean([np.linalg.norm(np.abs(x) + 1e-4, ord=p) for x in PRELOGITS])
    assert float(losses.prelogits_norm(PRELOGITS, p)) == pytest.approx(float(expected), rel=1e-5)
