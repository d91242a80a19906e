import keras
import numpy as np
import pytest

from facenet_core.config import TrainConfig
from facenet_core.errors import ConfigError, TrainingError
from facenet_core.training import losses
from facenet_core.training.augmentation import Augmentation, central
from facenet_core.training.diagnostics import advice, center_warning
from facenet_core.training.engine import devices, distribution
from facenet_core.training.input.people import Selection
from facenet_core.training.ranks import ALONE
from facenet_core.training.step import TrainStep
from tests.support.small_crops import tiny

CONFIG = TrainConfig(
    image_size=32,
    embedding_size=4,
    center_loss_factor=0.1,
    prelogits_norm_loss_factor=0.01,
    weight_decay=1e-3,
)
LABELS = np.array([0, 2, 2, 1], np.int32)


def build(config=CONFIG, rate=0.0):
    network = tiny(
        image_size=32,
        embedding_size=4,
        keep_probability=1.0,
        weight_decay=losses.penalty(config),
        batch_norm_decay=0.9,
        seed=1,
    )
    train_step = TrainStep(network, 3, config)
    train_step.compile(keras.optimizers.SGD(rate), jit_compile=keras.backend.backend() == "jax")
    return train_step


@pytest.fixture
def batch():
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), np.uint8)
    return {"images": images, "drawn": central(Augmentation(32), 4, (40, 40))}


def test_figures_are_sums_over_the_images_of_all_steps(batch):
    train_step = build()
    prelogits, logits = train_step(batch, training=True)
    expected = {
        "cross_entropy": np.mean(losses.cross_entropy(logits, LABELS)),
        "center_loss": np.mean(np.square(prelogits)),
        "weight_decay": float(sum(train_step.losses)),
        "accuracy": np.mean(np.argmax(logits, axis=1) == LABELS),
    }
    norm = float(losses.prelogits_norm(prelogits, 1.0))
    expected["prelogits_norm_loss"] = norm
    expected["embedding_norm"] = np.linalg.norm(prelogits, axis=1).mean()
    absent = ("triplet_loss", "teacher_loss", "teacher_relation_loss")
    expected |= dict.fromkeys(absent, 0.0)
    expected["loss"] = (
        expected["cross_entropy"]
        + 0.1 * expected["center_loss"]
        + 0.01 * norm
        + expected["weight_decay"]
    )
    train_step.train_on_batch(batch, LABELS)
    metrics = train_step.pop_metrics()
    assert metrics.images == 4
    assert metrics.means() == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-4)
    for _ in range(3):
        train_step.train_on_batch(batch, LABELS)
    assert train_step.pop_metrics().images == 12
    assert train_step.pop_metrics().images == 0


def test_centers_start_at_zero_and_each_step_moves_them(batch):
    train_step = build()
    prelogits = np.asarray(train_step(batch, training=True)[0])
    assert not np.asarray(train_step.centers).any()
    train_step.train_on_batch(batch, LABELS)
    train_step.sync_to_variables()
    expected = [0.05 * prelogits[np.equal(LABELS, label)].sum(axis=0) for label in range(3)]
    np.testing.assert_allclose(train_step.centers, expected, rtol=1e-3, atol=1e-5)


def test_the_optimizer_does_not_move_the_centers():
    train_step = build()
    assert id(train_step.centers) not in {id(v) for v in train_step.trainable_variables}


def test_evaluating_moves_nothing(batch):
    train_step = build(CONFIG.model_copy(update={"moving_average_decay": 0.9}))
    before = [np.array(v) for v in (train_step.centers, *train_step.network.weights)]
    train_step.test_on_batch(batch, LABELS, np.ones(4, np.float32))
    after = [train_step.centers, *train_step.network.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert int(train_step.average.updates) == 0


def test_images_that_fill_a_batch_weigh_nothing(batch):
    train_step = build()
    train_step.test_on_batch(batch, LABELS, np.array([1, 1, 0, 0], np.float32))
    filled = train_step.pop_metrics()
    half = {name: values[:2] for name, values in batch.items()}
    train_step.test_on_batch(half, LABELS[:2], np.ones(2, np.float32))
    alone = train_step.pop_metrics()
    assert filled.images == alone.images == 2
    assert filled.means() == pytest.approx(alone.means(), rel=1e-4)


def test_steps_are_compiled_once(batch, monkeypatch):
    traced = []
    real = losses.cross_entropy
    monkeypatch.setattr(losses, "cross_entropy", lambda *a: traced.append(1) or real(*a))
    train_step = build()
    train_step.train_on_batch(batch, LABELS)
    after_one_step = len(traced)
    for _ in range(4):
        train_step.train_on_batch(batch, LABELS)
    assert len(traced) == after_one_step


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a setting of TensorFlow")
def test_operations_are_made_repeatable():
    from tensorflow.python.framework.config import is_op_determinism_enabled

    devices.prepare(gpu_memory_fraction=1.0)
    assert is_op_determinism_enabled()


@pytest.mark.parametrize(
    ("loss", "mixed_precision"),
    [("softmax", "bfloat16"), ("arcface", "off"), ("cosface", "bfloat16")],
)
def test_every_loss_falls_and_centers_stay_float32(batch, loss, mixed_precision):
    train_step = build(
        CONFIG.model_copy(
            update={"loss": loss, "logit_scale": 8.0, "mixed_precision": mixed_precision}
        ),
        rate=0.02,
    )
    falling = []
    for _ in range(12):
        train_step.train_on_batch(batch, LABELS)
        falling.append(train_step.pop_metrics().means()["cross_entropy"])
    assert falling[-1] < 0.8 * falling[0]
    assert train_step.centers.dtype == "float32"


def test_a_decoupled_weight_decay_is_no_part_of_the_loss(batch):
    train_step = build(CONFIG.model_copy(update={"optimizer": "adamw"}))
    train_step.train_on_batch(batch, LABELS)
    assert train_step.pop_metrics().weight_decay == 0


@pytest.mark.parametrize(
    ("alfa", "batch_size", "expected"),
    [(0.5, 90, "center_loss_alfa to 0.978 or more"), (0.95, 60, None), (0.5, 6, None)],
)
def test_centers_that_would_overshoot_are_warned_of(alfa, batch_size, expected):
    two_people = np.array([0, 1] * 5, np.int32)
    selection = Selection(("Ann", "Bob"), two_people, np.arange(10), np.arange(0))
    config = CONFIG.model_copy(update={"center_loss_alfa": alfa, "batch_size": batch_size})
    warning = center_warning(selection, config)
    assert (warning is None) if expected is None else (expected in warning)
    if warning:
        assert warning in advice(["loss", "center_loss"], selection, config)


@pytest.mark.parametrize(("alfa", "grows"), [(0.5, True), (0.978, False)])
def test_the_warning_is_true(alfa, grows):
    features = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    labels = np.array([0, 1] * 45, np.int32)
    centers = np.zeros((2, 4), np.float32)
    for _ in range(20):
        centers[labels] = losses.moved_centers(features, labels, centers[labels], alfa)
    assert (np.abs(centers).max() > 1e6) == grows


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Failed to get convolution algorithm. This is probably", "Lower gpu_memory_fraction"),
        ("OOM when allocating tensor with shape[90,64]", "lower batch_size"),
    ],
)
def test_errors_of_the_device_are_explained(text, meaning):
    with pytest.raises(TrainingError, match=meaning), devices.explained():
        raise RuntimeError(text)
    with pytest.raises(ValueError, match="another"), devices.explained():
        raise ValueError("another")


def test_only_jax_shares_a_training_and_others_say_so():
    config = CONFIG.model_copy(update={"data_parallel": True})
    if keras.backend.backend() == "jax":
        pytest.skip("the backend is JAX")
    with (
        pytest.raises(ConfigError, match="data_parallel: only JAX"),
        distribution.shared(config, ALONE),
    ):
        pass


def test_float16_is_refused_without_a_gpu():
    if devices.has_gpu():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        devices.require_precision("float16")
