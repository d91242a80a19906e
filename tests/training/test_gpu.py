"""What training promises holds on a GPU, under the engine that KERAS_BACKEND names."""

import os
import shutil

import numpy as np
import pytest

from tests.support.engines import (
    TENSORFLOW,
    TRAIN_AND_RESUME,
    after_steps,
    assert_close,
    jax_on_cpus,
    run_program,
)

ENGINE = {"KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "tensorflow")}
ON_CPU = (
    jax_on_cpus()
    if ENGINE["KERAS_BACKEND"] == "jax"
    else {**TENSORFLOW, "CUDA_VISIBLE_DEVICES": ""}
)

pytestmark = pytest.mark.skipif(not shutil.which("nvidia-smi"), reason="needs an NVIDIA GPU")

MEMORY = """
import jax

from facenet_core import runtime
from facenet_core.training.engine import devices

devices.prepare(0.25)
statistics = jax.devices()[0].memory_stats()
print(statistics["bytes_limit"] / 2**20 / runtime._gpu_megabytes()[0])
"""


@pytest.fixture(scope="module", autouse=True)
def _the_engine_has_the_gpu():
    program = "from facenet_core.training.engine import devices; print(devices.has_gpu())"
    if run_program(program, ENGINE).split()[-1] != "True":
        pytest.skip(f"{ENGINE['KERAS_BACKEND']} sees no GPU")


@pytest.mark.parametrize("precision", ["off", "bfloat16", "float16"])
def test_trains_and_resumes_bit_for_bit(root, crops_uri, precision):
    options = {"mixed_precision": precision, "gpu_memory_fraction": 0.2}
    run_program(TRAIN_AND_RESUME, ENGINE, root, crops_uri, repr(options))


def test_two_processes_give_the_same_weights(root, crops_uri):
    options = {"optimizer": "adam", "center_loss_factor": 0.01}
    one = after_steps(ENGINE, f"{root}/one", crops_uri, options)
    two = after_steps(ENGINE, f"{root}/two", crops_uri, options)
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "momentum", "center_loss_factor": 0.01},
        {"optimizer": "adam", "loss": "triplet", "alpha": 1.9},
    ],
)
def test_three_steps_give_the_weights_of_a_cpu(root, crops_uri, options):
    exactly = {**ENGINE, "NVIDIA_TF32_OVERRIDE": "0"}
    on_gpu = after_steps(exactly, f"{root}/gpu", crops_uri, options)
    assert_close(on_gpu, after_steps(ON_CPU, f"{root}/cpu", crops_uri, options))


@pytest.mark.skipif(ENGINE["KERAS_BACKEND"] != "jax", reason="TensorFlow does not tell its limit")
def test_the_memory_fraction_is_a_limit():
    assert float(run_program(MEMORY, ENGINE)) == pytest.approx(0.25, rel=0.02)
