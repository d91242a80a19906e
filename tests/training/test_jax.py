"""The same code trains under JAX."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from small_crops import draw

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")

PROGRAM = """
import sys

import keras
import numpy as np
from small_crops import draw

from facenet_core.config import TrainConfig
from facenet_core.models.embedder import Embedder
from facenet_core.training import loop

assert keras.backend.backend() == "jax"
root, crops_uri = sys.argv[1:]
config = TrainConfig(
    model_def="small_crops:tiny", image_size=32, embedding_size=8, batch_size=6,
    max_nrof_epochs=6, epoch_size=10, optimizer="adam", learning_rate=0.05, batch_norm_decay=0.5,
    keep_probability=0.8, weight_decay=1e-4, center_loss_factor=1e-2,
    prelogits_norm_loss_factor=1e-3, moving_average_decay=0.9, random_crop=True, random_flip=True,
    validation_set_split_ratio=0.2, random_rotate=True, random_cutout=5, checkpoint_every=7,
)


class Killed(Exception):
    pass


def train(root, kill_at=None):
    def progress(now):
        if now.step == kill_at:
            raise Killed

    plan = loop.plan_train(root, crops_uri, config)
    loop.finish(plan, loop.train(plan, config, run_id="run", progress=progress), {})
    return Embedder.load(plan.uri)


through = train(root + "/a")
try:
    train(root + "/b", kill_at=25)
except Killed:
    resumed = train(root + "/b")
for one, other in zip(through.network.get_weights(), resumed.network.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)
ann, bob = (through.embed(np.stack([draw(p, shot) for shot in (98, 99)])) for p in (1, 2))
assert np.linalg.norm(ann[0] - ann[1]) < np.linalg.norm(ann - bob, axis=1).min()
"""


THREE_STEPS = """
import sys

import keras
import numpy as np


@keras.saving.register_keras_serializable()
class Uniform(keras.initializers.Initializer):
    # Engines draw other numbers from the same seed.
    def __init__(self, seed):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        bound = (6 / (np.prod(shape[:-1]) + shape[-1])) ** 0.5
        drawn = np.random.default_rng(self.seed).uniform(-bound, bound, shape)
        return keras.ops.convert_to_tensor(drawn, "float32")

    def get_config(self):
        return {"seed": self.seed}


keras.initializers.GlorotUniform = Uniform

from facenet_core.config import TrainConfig
from facenet_core.training import loop

root, crops_uri, options = sys.argv[1:]
config = TrainConfig(
    model_def="small_crops:tiny", image_size=32, embedding_size=8, batch_size=6,
    max_nrof_epochs=1, epoch_size=3, learning_rate=0.001, weight_decay=1e-3, **eval(options),
)
loop.train(loop.plan_train(root, crops_uri, config), config, run_id="run")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "rmsprop", "center_loss_factor": 0.01, "prelogits_norm_loss_factor": 1e-3},
        {"optimizer": "momentum", "loss": "arcface", "logit_scale": 8.0},
        {"optimizer": "adam", "loss": "triplet", "alpha": 1.9},
    ],
)
def test_three_steps_give_the_same_weights_under_tensorflow(root, crops_uri, options):
    under_jax = three_steps("jax", f"{root}/jax", crops_uri, options)
    assert_close(under_jax, three_steps("tensorflow", f"{root}/tensorflow", crops_uri, options))


@pytest.mark.slow
def test_two_devices_give_the_weights_and_centers_of_one(root, crops_uri):
    options = {"optimizer": "momentum", "center_loss_factor": 0.01, "moving_average_decay": 0.9}
    one = three_steps("jax", f"{root}/one", crops_uri, options)
    shared = options | {"data_parallel": True}
    assert_close(one, three_steps("jax", f"{root}/two", crops_uri, shared, devices=2))


def three_steps(backend, root, crops_uri, options, devices=1):
    """Values of all variables after three steps: network, classifier, centers, optimizer."""
    run_program(THREE_STEPS, backend, root, crops_uri, repr(options), devices=devices)
    (file,) = Path(root).rglob("step-000000003.npz")
    with np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("arr_")}


def assert_close(one, other):
    assert one.keys() == other.keys()
    assert any(array.ndim == 4 for array in one.values())
    for name in one:
        # Of the largest value where that is above 1, as in the optimizer's sums of gradients.
        tolerance = 1e-4 * max(1, np.abs(other[name]).max())
        np.testing.assert_allclose(one[name], other[name], atol=tolerance, err_msg=name)


def test_trains_resumes_bit_for_bit_and_embeds(root, crops_uri):
    run_program(PROGRAM, "jax", root, crops_uri)


def run_program(program, backend, *arguments, devices=1):
    folders = [str(Path(__file__).parents[2]), str(Path(draw.__code__.co_filename).parent)]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
