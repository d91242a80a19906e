import keras
import numpy as np
import pytest
from small_crops import tiny

from facenet_core.config import TrainConfig
from facenet_core.training import devices, losses
from facenet_core.training.augmentation import central_placements
from facenet_core.training.learner import Learner

CONFIG = TrainConfig(
    image_size=32,
    embedding_size=4,
    center_loss_factor=0.1,
    prelogits_norm_loss_factor=0.01,
    weight_decay=1e-3,
)
LABELS = np.array([0, 2, 2, 1], np.int32)


def build(config=CONFIG):
    network = tiny(
        image_size=32,
        embedding_size=4,
        keep_probability=1.0,
        weight_decay=config.weight_decay,
        batch_norm_decay=0.9,
        seed=1,
    )
    learner = Learner(network, 3, config)
    learner.compile(keras.optimizers.SGD(0.0), jit_compile=keras.backend.backend() == "jax")
    return learner


@pytest.fixture
def batch():
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), np.uint8)
    return {"images": images, "placements": central_placements(4, (40, 40), 32)}


def test_figures_are_sums_over_the_images_of_all_steps(batch):
    learner = build()
    prelogits, logits = learner(batch, training=True)
    expected = {
        "cross_entropy": np.mean(losses.cross_entropy(logits, LABELS)),
        "center_loss": np.mean(np.square(prelogits)),
        "weight_decay": float(sum(learner.losses)),
        "accuracy": np.mean(np.argmax(logits, axis=1) == LABELS),
    }
    norm = float(losses.prelogits_norm(prelogits, 1.0))
    expected["loss"] = (
        expected["cross_entropy"]
        + 0.1 * expected["center_loss"]
        + 0.01 * norm
        + expected["weight_decay"]
    )
    learner.train_on_batch(batch, LABELS)
    figures = learner.take_figures()
    assert figures.images == 4
    assert figures.means() == pytest.approx(expected, rel=1e-4)
    for _ in range(3):
        learner.train_on_batch(batch, LABELS)
    assert learner.take_figures().images == 12
    assert learner.take_figures().images == 0


def test_centers_start_at_zero_and_each_step_moves_them(batch):
    learner = build()
    prelogits = np.asarray(learner(batch, training=True)[0])
    assert not np.asarray(learner.centers).any()
    learner.train_on_batch(batch, LABELS)
    expected = [0.05 * prelogits[np.equal(LABELS, label)].sum(axis=0) for label in range(3)]
    np.testing.assert_allclose(learner.centers, expected, rtol=1e-3, atol=1e-5)


def test_the_optimizer_does_not_move_the_centers():
    learner = build()
    assert id(learner.centers) not in {id(v) for v in learner.trainable_variables}


def test_evaluating_moves_nothing(batch):
    learner = build(CONFIG.model_copy(update={"moving_average_decay": 0.9}))
    before = [np.array(v) for v in (learner.centers, *learner.network.weights)]
    learner.test_on_batch(batch, LABELS, np.ones(4, np.float32))
    after = [learner.centers, *learner.network.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert int(learner.average.updates) == 0


def test_images_that_fill_a_batch_weigh_nothing(batch):
    learner = build()
    learner.test_on_batch(batch, LABELS, np.array([1, 1, 0, 0], np.float32))
    filled = learner.take_figures()
    half = {name: values[:2] for name, values in batch.items()}
    learner.test_on_batch(half, LABELS[:2], np.ones(2, np.float32))
    alone = learner.take_figures()
    assert filled.images == alone.images == 2
    assert filled.means() == pytest.approx(alone.means(), rel=1e-4)


def test_steps_are_compiled_once(batch, monkeypatch):
    traced = []
    real = losses.cross_entropy
    monkeypatch.setattr(losses, "cross_entropy", lambda *a: traced.append(1) or real(*a))
    learner = build()
    learner.train_on_batch(batch, LABELS)
    after_one_step = len(traced)
    for _ in range(4):
        learner.train_on_batch(batch, LABELS)
    assert len(traced) == after_one_step


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a setting of TensorFlow")
def test_operations_are_made_repeatable():
    from tensorflow.python.framework.config import is_op_determinism_enabled

    devices.prepare(gpu_memory_fraction=1.0)
    assert is_op_determinism_enabled()
