"""Classifiers of which a step trains some classes, or which devices divide between them."""

from importlib.util import find_spec

import keras
import numpy as np
import pytest

from facenet_core.config import TrainConfig
from facenet_core.training import classifier, losses, optimizers
from facenet_core.training.augmentation import Augmentation, central
from facenet_core.training.step import TrainStep
from tests.support.engines import (
    TENSORFLOW,
    TRAIN_AND_RESUME,
    after_steps,
    assert_close,
    jax_on_cpus,
    run_program,
)
from tests.support.small_crops import tiny

needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
NROF_CLASSES = 50
LABELS = np.array([0, 12, 12, 49], np.int32)


def config(**options):
    options = {"loss": "softmax", "classifier_sample_rate": 0.1, "batch_size": 4} | options
    return TrainConfig(image_size=32, embedding_size=4, **options)


def build(config, rate=0.1, optimizer="momentum"):
    network = tiny(
        image_size=32,
        embedding_size=4,
        keep_probability=1.0,
        weight_decay=0.0,
        batch_norm_decay=0.9,
        seed=1,
    )
    train_step = TrainStep(network, NROF_CLASSES, config)
    optimizer = optimizers.build(optimizer, rate, 0.0)
    optimizer.build(train_step.trainable_variables)
    train_step.compile(optimizer, jit_compile=keras.backend.backend() == "jax")
    train_step.sample_classes(optimizer)
    return train_step


def batch_of(train_step, step):
    images = np.random.default_rng(step).integers(0, 256, (4, 40, 40, 3), np.uint8)
    classes, places = train_step.class_sample.of_step(step, LABELS)
    batch = {"images": images, "drawn": central(Augmentation(32), 4, (40, 40))}
    return batch | {"classes": classes, "places": places}


def whole(train_step):
    """Values of the classifier's variables and of what the optimizer remembers of them."""
    train_step.sync_to_variables()
    return {v.path: np.array(v) for v in train_step.variables if "whole" in v.path}


@pytest.mark.parametrize(
    ("loss", "optimizer"),
    [*(("softmax", name) for name in optimizers.OPTIMIZERS), ("cosface", "adam")],
)
def test_rows_of_classes_that_take_no_part_stay_and_so_do_their_moments(loss, optimizer):
    train_step = build(config(loss=loss), optimizer=optimizer)
    train_step.train_on_batch(batch_of(train_step, 0), LABELS)  # gives rows a momentum
    before = whole(train_step)
    batch = batch_of(train_step, 1)
    train_step.train_on_batch(batch, LABELS)
    part = batch["classes"][batch["classes"] < NROF_CLASSES]
    others = np.setdiff1d(np.arange(NROF_CLASSES), part)
    assert set(LABELS) <= set(part) < set(range(NROF_CLASSES))
    after = whole(train_step)
    assert len(after) > (1 if loss == "cosface" else 2)
    for path, values in after.items():
        np.testing.assert_array_equal(values[others], before[path][others], err_msg=path)
        if "kernel" in path:
            assert (values[LABELS] != before[path][LABELS]).any(), path


@pytest.mark.parametrize("loss", ["softmax", "arcface", "cosface"])
@pytest.mark.parametrize("share", [0.1, 0.9], ids=["few", "as many places as classes"])
def test_the_loss_is_that_of_the_classes_that_take_part(loss, share):
    options = {"classifier_sample_rate": share, "weight_decay": 0.01}
    train_step = build(config(loss=loss, **options), rate=0.0)
    batch = batch_of(train_step, 3)
    # Batch norm's averages do not take part: those of training are the batch's own.
    prelogits = train_step({k: batch[k] for k in ("images", "drawn")}, training=True)[0]
    part = batch["classes"][batch["classes"] < NROF_CLASSES]
    everybody = np.array(train_step.classifier(prelogits))
    own = np.searchsorted(np.sort(part), LABELS)
    expected = losses.classification_loss(
        keras.ops.convert_to_tensor(everybody[:, np.sort(part)]), own, train_step.config
    )
    train_step.train_on_batch(batch, LABELS)
    means = train_step.pop_metrics().means()
    assert means["cross_entropy"] == pytest.approx(float(np.mean(expected)), rel=1e-5)
    kernel = np.array(train_step.classifier.whole[0])
    assert means["weight_decay"] == pytest.approx(0.005 * np.square(kernel[part]).sum(), rel=1e-4)


def test_the_whole_classifier_begins_as_one_that_is_not_sampled():
    sampled = classifier.build(10, config(), shards=4, places=12)
    plain = classifier.build(10, config(), shards=1)
    assert sampled.rows == 12
    np.testing.assert_array_equal(np.array(sampled.whole[0])[:10].T, plain.kernel)
    assert not np.array(sampled.whole[0])[10:].any()


def test_rows_that_belong_to_nobody_are_impossible():
    divided = classifier.build(10, config(), shards=4)
    outputs = np.array(divided(np.ones((2, 4), np.float32)))
    assert outputs.shape == (2, 12)
    assert (outputs[:, 10:] < -1e8).all()
    assert (np.abs(outputs[:, :10]) < 10).all()


def test_a_sample_trains_resumes_bit_for_bit_and_embeds(root, crops_uri):
    options = {"classifier_sample_rate": 0.5}
    run_program(TRAIN_AND_RESUME, TENSORFLOW, root, crops_uri, repr(options))


@pytest.mark.parametrize("loss", ["triplet", "none"])
def test_without_a_classifier_there_is_nothing_to_sample(loss):
    with pytest.raises(ValueError, match=f"classifier_sample_rate: loss: {loss} has no classifier"):
        TrainConfig(loss=loss, classifier_sample_rate=0.5, batch_size=90, teacher="teacher")


SAMPLED = {"classifier_sample_rate": 0.5}
DIVIDED = {"data_parallel": True, "classifier_sharding": True}
CENTERS = {"optimizer": "momentum", "center_loss_factor": 0.01}
ARCFACE = {"optimizer": "adam", "loss": "arcface", "logit_scale": 8.0}


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize("options", [CENTERS, ARCFACE], ids=["centers", "arcface"])
@pytest.mark.parametrize("sample", [{}, SAMPLED], ids=["all", "sampled"])
def test_devices_that_divide_the_classes_give_the_weights_of_one(root, crops_uri, options, sample):
    options = options | sample
    twenty = {"steps": 20, "batch_size": 24}
    one = after_steps(jax_on_cpus(), f"{root}/one", crops_uri, options, **twenty)
    for devices in (3, 8):  # three of them cannot divide four people evenly
        divided = f"{root}/{devices}"
        several = after_steps(jax_on_cpus(devices), divided, crops_uri, options | DIVIDED, **twenty)
        assert_close(one, several, 1e-5)


@needs_jax
@pytest.mark.slow
def test_a_sample_under_jax_is_that_under_tensorflow(root, crops_uri):
    options = CENTERS | SAMPLED
    under_jax = after_steps(jax_on_cpus(), f"{root}/jax", crops_uri, options)
    assert_close(under_jax, after_steps(TENSORFLOW, f"{root}/tensorflow", crops_uri, options))


@needs_jax
@pytest.mark.parametrize("sample", [{}, SAMPLED], ids=["all", "sampled"])
def test_a_divided_classifier_resumes_bit_for_bit_and_embeds(root, crops_uri, sample):
    run_program(TRAIN_AND_RESUME, jax_on_cpus(3), root, crops_uri, repr(DIVIDED | sample))


# So large that Keras makes its values on the devices that hold them.
LARGE = """
from facenet_core.config import TrainConfig
from facenet_core.training import classifier
from facenet_core.training.engine import distribution
from facenet_core.training.ranks import ALONE

config = TrainConfig(
    batch_size=8, embedding_size=64, data_parallel=True, classifier_sharding=True,
    classifier_sample_rate=0.5,
)
with distribution.shared(config, ALONE):
    for places in (None, 8_000):
        layer = classifier.build(130_001, config, distribution.class_shards(), places)
        for variable in layer.variables:
            shards = variable.value.addressable_shards
            assert len(shards) == 8
            assert shards[0].data.size * 8 == variable.value.size
"""


@needs_jax
def test_a_large_classifier_is_made_divided():
    run_program(LARGE, jax_on_cpus(8))
