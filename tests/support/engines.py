"""Small trainings in processes of their own, for tests that compare engines and devices."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

TENSORFLOW = {"KERAS_BACKEND": "tensorflow"}


def jax_on_cpus(devices=1):
    return {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }


TRAIN_AND_RESUME = """
import sys

import numpy as np
from tests.support.small_crops import draw
from tests.support.training_runs import Killed, kill_at, run

from facenet_core.config import TrainConfig
from facenet_core.models.face_model import FaceModel

root, crops_uri, options = sys.argv[1:]
config = TrainConfig(
    model_def="tests.support.small_crops:tiny", image_size=32, embedding_size=8, batch_size=6,
    max_nrof_epochs=6, epoch_size=10, optimizer="adam", learning_rate=0.05, batch_norm_decay=0.5,
    keep_probability=0.8, weight_decay=1e-4, center_loss_factor=1e-2,
    prelogits_norm_loss_factor=1e-3, moving_average_decay=0.9, random_crop=True, random_flip=True,
    validation_set_split_ratio=0.2, random_rotate=True, random_cutout=5, checkpoint_every=7,
    **eval(options),
)


through = FaceModel.load(run(root + "/a", crops_uri, config))
try:
    run(root + "/b", crops_uri, config, progress=kill_at(25))
except Killed:
    resumed = FaceModel.load(run(root + "/b", crops_uri, config))
for one, other in zip(through.network.get_weights(), resumed.network.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)
ann, bob = (through.embed(np.stack([draw(p, shot) for shot in (98, 99)])) for p in (1, 2))
assert np.linalg.norm(ann[0] - ann[1]) < np.linalg.norm(ann - bob, axis=1).min()
"""


STEPS = """
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
from facenet_core.training import stage as loop

root, crops_uri, options = sys.argv[1:]
config = TrainConfig(
    model_def="tests.support.small_crops:tiny", image_size=32, embedding_size=8,
    max_nrof_epochs=1, learning_rate=0.001, weight_decay=1e-3, **eval(options),
)
loop.train(loop.plan_train(root, crops_uri, config), config, run_id="run")
"""


def after_steps(engine, root, crops_uri, options, steps=3, batch_size=6):
    """Values of all variables after some steps: network, classifier, centers, optimizer."""
    options = options | {"epoch_size": steps, "batch_size": batch_size}
    run_program(STEPS, engine, root, crops_uri, repr(options))
    (file,) = Path(root).rglob(f"step-{steps:09d}.npz")
    with np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("arr_")}


def assert_close(one, other, tolerance=1e-4):
    assert one.keys() == other.keys()
    assert any(array.ndim == 4 for array in one.values())
    for name in one:
        # Of the largest value where that is above 1, as in the optimizer's sums of gradients.
        atol = tolerance * max(1, np.abs(other[name]).max())
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=atol, err_msg=name)


def run_program(program, engine, *arguments):
    """What a program prints, in a process whose environment says which engine runs on what."""
    search = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, **engine, "PYTHONPATH": search}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
