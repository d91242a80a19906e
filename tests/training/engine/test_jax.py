"""The same code trains under JAX."""

from importlib.util import find_spec

import pytest

from tests.support.engines import (
    TENSORFLOW,
    TRAIN_AND_RESUME,
    after_steps,
    assert_close,
    jax_on_cpus,
    run_program,
)

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "rmsprop", "center_loss_factor": 0.01, "prelogits_norm_loss_factor": 1e-3},
        {"optimizer": "momentum", "loss": "arcface", "logit_scale": 8.0},
        {"optimizer": "adam", "loss": "triplet", "alpha": 1.9},
    ],
)
def test_after_steps_give_the_same_weights_under_tensorflow(root, crops_uri, options):
    under_jax = after_steps(jax_on_cpus(), f"{root}/jax", crops_uri, options)
    assert_close(under_jax, after_steps(TENSORFLOW, f"{root}/tensorflow", crops_uri, options))


@pytest.mark.slow
def test_two_devices_give_the_weights_and_centers_of_one(root, crops_uri):
    options = {
        "optimizer": "momentum",
        "center_loss_factor": 0.01,
        "moving_average_decay": 0.9,
        "keep_probability": 0.8,
        "random_crop": True,
    }
    one = after_steps(jax_on_cpus(), f"{root}/one", crops_uri, options)
    shared = options | {"data_parallel": True}
    assert_close(one, after_steps(jax_on_cpus(2), f"{root}/two", crops_uri, shared))


def test_trains_resumes_bit_for_bit_and_embeds(root, crops_uri):
    run_program(TRAIN_AND_RESUME, jax_on_cpus(), root, crops_uri, "{}")
