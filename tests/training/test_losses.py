import keras
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
    values = losses.center_loss(PRELOGITS, CENTERS[LABELS])
    assert float(values) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("alfa", [0.0, 0.5, 0.95, 1.0])
def test_every_image_pulls_its_center_and_pulls_of_one_class_add_up(alfa):
    expected = CENTERS.copy()
    for feature, label in zip(PRELOGITS, LABELS, strict=True):
        expected[label] -= (1 - alfa) * (CENTERS[label] - feature)
    values = np.asarray(losses.moved_centers(PRELOGITS, LABELS, CENTERS[LABELS], alfa))
    np.testing.assert_allclose(values, expected[LABELS], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_prelogits_norm_is_the_mean_p_norm(p):
    expected = np.mean([np.linalg.norm(np.abs(x) + 1e-4, ord=p) for x in PRELOGITS])
    assert float(losses.prelogits_norm(PRELOGITS, p)) == pytest.approx(float(expected), rel=1e-5)


def cosines_of(prelogits, directions):
    unit = prelogits / np.linalg.norm(prelogits, axis=1, keepdims=True)
    return unit @ (directions / np.linalg.norm(directions, axis=0))


COSINES = cosines_of(PRELOGITS, RANDOM.normal(size=(4, 5))).astype(np.float32)


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.4])
def test_arcface_adds_the_margin_to_the_own_angle(margin):
    expected = 64 * COSINES.astype(np.float64)
    for row, label in zip(expected, LABELS, strict=True):
        angle = np.arccos(row[label] / 64)
        turned, beyond = np.cos(angle + margin), np.cos(angle) - margin * np.sin(margin)
        row[label] = 64 * (turned if angle + margin < np.pi else beyond)
    values = losses.arcface_logits(COSINES, LABELS, 64.0, margin)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-3)


def test_cosface_takes_the_margin_from_the_own_cosine():
    expected = 30 * COSINES
    expected[np.arange(6), LABELS] -= 30 * 0.35
    np.testing.assert_allclose(
        losses.cosface_logits(COSINES, LABELS, 30.0, 0.35), expected, rtol=1e-5
    )


def test_triplet_loss_is_what_the_positive_lacks_of_the_margin():
    unit = PRELOGITS / np.linalg.norm(PRELOGITS, axis=1, keepdims=True)
    (a1, p1, n1), (a2, p2, n2) = unit[:3], unit[3:]
    near, far = (
        [np.sum((a1 - p1) ** 2), np.sum((a2 - p2) ** 2)],
        [
            np.sum((a1 - n1) ** 2),
            np.sum((a2 - n2) ** 2),
        ],
    )
    positive, negative = losses.triplet_distances(PRELOGITS)
    np.testing.assert_allclose(positive, near, rtol=1e-5)
    np.testing.assert_allclose(negative, far, rtol=1e-5)
    expected = np.maximum(np.array(near) - far + 0.2, 0)
    np.testing.assert_allclose(losses.triplet_loss(positive, negative, 0.2), expected, rtol=1e-4)


def mean_cross_entropy(logits):
    return keras.ops.mean(losses.cross_entropy(logits, LABELS))


@pytest.mark.parametrize(
    ("loss", "at"),
    [
        (mean_cross_entropy, COSINES),
        (lambda x: losses.center_loss(x, CENTERS[LABELS]), PRELOGITS),
        (lambda x: losses.prelogits_norm(x, 2.0), PRELOGITS),
        (lambda x: mean_cross_entropy(losses.arcface_logits(x, LABELS, 8.0, 0.5)), COSINES),
        (lambda x: mean_cross_entropy(losses.cosface_logits(x, LABELS, 8.0, 0.35)), COSINES),
        (
            lambda x: keras.ops.mean(losses.triplet_loss(*losses.triplet_distances(x), 5.0)),
            PRELOGITS,
        ),
    ],
    ids=["softmax", "center", "prelogits_norm", "arcface", "cosface", "triplet"],
)
def test_gradients_agree_with_finite_differences(loss, at):
    tf = pytest.importorskip("tensorflow")
    x = tf.constant(at, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    gradient = tape.gradient(value, x).numpy()
    for index in np.ndindex(at.shape):
        step = np.zeros(at.shape, np.float32)
        step[index] = 5e-3
        slope = (float(loss(at + step)) - float(loss(at - step))) / 1e-2
        assert gradient[index] == pytest.approx(slope, abs=2e-3, rel=2e-2)


def test_centers_follow_the_rule_over_several_batches_with_repeated_labels():
    expected = np.zeros((5, 4))
    centers = np.zeros((5, 4), np.float32)
    for number in range(4):
        batch = np.random.default_rng(number).normal(size=(6, 4)).astype(np.float32)
        labels = np.random.default_rng([number, 1]).integers(0, 3, 6).astype(np.int32)
        expected_loss = np.mean((batch - expected[labels]) ** 2)
        assert float(losses.center_loss(batch, centers[labels])) == pytest.approx(
            expected_loss, rel=1e-5
        )
        before = expected.copy()
        for feature, label in zip(batch, labels, strict=True):
            expected[label] -= (1 - 0.9) * (before[label] - feature)
        centers[labels] = losses.moved_centers(batch, labels, centers[labels], 0.9)
        np.testing.assert_allclose(centers, expected, rtol=1e-4, atol=1e-6)
