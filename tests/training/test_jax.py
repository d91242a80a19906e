"""The same code trains under JAX."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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
    validation_set_split_ratio=0.2, checkpoint_every=7,
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


def test_trains_resumes_bit_for_bit_and_embeds(root, crops_uri):
    folders = [str(Path(__file__).parents[2]), str(Path(draw.__code__.co_filename).parent)]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", PROGRAM, root, crops_uri]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
