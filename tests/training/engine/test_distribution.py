"""One step shared between devices by TensorFlow gives what one device gives.

A process decides how many devices its CPU is before its first operation, so a child trains each
case on one of its devices and on all of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other engines share steps by themselves"
)

PROGRAM = """
import json
import shutil
import sys
from pathlib import Path

import tensorflow as tf

devices, root, crops_uri, cases = int(sys.argv[1]), *sys.argv[2:4], json.loads(sys.argv[4])
(cpu,) = tf.config.list_physical_devices("CPU")
virtual = [tf.config.LogicalDeviceConfiguration()] * devices
tf.config.set_logical_device_configuration(cpu, virtual)

from facenet_core.config import TrainConfig
from facenet_core.errors import ConfigError
from facenet_core.training import stage as loop


def train(name, case, **where):
    config = TrainConfig(
        model_def="tests.support.small_crops:tiny", image_size=32, embedding_size=8,
        max_nrof_epochs=1,
        epoch_size=3, learning_rate=0.001, weight_decay=1e-3, random_crop=True, checkpoint_every=2,
        validate_every_n_epochs=1, **{"batch_size": 6, **case, **where},
    )
    loop.train(loop.plan_train(f"{root}/{name}", crops_uri, config), config, run_id="run")


for name, case in cases.items():
    train(f"{name}/one", case)
    train(f"{name}/all", case, data_parallel=True)
first, case = next(iter(cases.items()))
for name, shared in (("resumed", True), ("moved", False)):
    # As if it had been killed before its last checkpoint.
    shutil.copytree(f"{root}/{first}/all", f"{root}/{name}")
    (last,) = Path(root, name).rglob("step-000000003.npz")
    last.unlink()
    train(name, case, data_parallel=shared)

said = []
for uneven in ({"batch_size": devices + 1}, {"batch_size": 3, "loss": "triplet"}):
    try:
        train("uneven", uneven, data_parallel=True)
    except ConfigError as error:
        said.append(str(error))
print(json.dumps(said))
"""

SOFTMAX = {
    "optimizer": "rmsprop",
    "center_loss_factor": 0.01,
    "prelogits_norm_loss_factor": 1e-3,
    "moving_average_decay": 0.9,
    "keep_probability": 0.8,
    "validation_set_split_ratio": 0.2,
}
OTHERS = {
    "arcface": {"optimizer": "momentum", "loss": "arcface", "logit_scale": 8.0, "batch_size": 12},
    "cosface": {"optimizer": "adagrad", "loss": "cosface", "logit_scale": 8.0, "batch_size": 12},
    "triplet": {"optimizer": "adam", "loss": "triplet", "alpha": 1.9, "batch_size": 12},
    "adamw": {"optimizer": "adamw", "center_loss_factor": 0.01, "batch_size": 8},
    "adadelta": {"optimizer": "adadelta", "batch_size": 8, "prelogits_norm_loss_factor": 1e-3},
}


def run(devices, root, crops_uri, cases):
    """What the child said of batches that cannot be shared."""
    search = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": search}
    command = [sys.executable, "-c", PROGRAM, str(devices), root, crops_uri, json.dumps(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(tmp_path_factory.mktemp("replicas"))


@pytest.fixture(scope="module")
def said(root, crops_uri):
    return run(2, root, crops_uri, {"softmax": SOFTMAX})


def after_three_steps(folder):
    """All variables by number (network, classifier, centers, averages, optimizer, the norms of
    gradients), and the metrics of the epoch."""
    (file,) = Path(folder).rglob("step-000000003.npz")
    with np.load(file) as arrays:
        (row,) = json.loads(arrays["record"].tobytes())["history"]
        del row["images_per_second"]
        measured = {name: value for name, value in row.items() if value is not None}
        values = {name: arrays[name] for name in arrays.files if name.startswith("arr_")}
    assert any(array.ndim == 4 for array in values.values())
    return values, measured


def assert_close(folder, other, least_dimensions=0):
    (values, row), (other_values, other_row) = map(after_three_steps, (folder, other))
    assert values.keys() == other_values.keys()
    for name, array in values.items():
        if array.ndim >= least_dimensions:
            # Of the largest value where that is above 1, as in the optimizer's sums of gradients.
            tolerance = 2e-5 * max(1, np.abs(array).max())
            np.testing.assert_allclose(
                array, other_values[name], rtol=0, atol=tolerance, err_msg=name
            )
    assert row == pytest.approx(other_row, rel=2e-5)


@pytest.mark.usefixtures("said")
def test_two_devices_give_all_that_one_gives(root):
    assert_close(f"{root}/softmax/one", f"{root}/softmax/all")


@pytest.mark.usefixtures("said")
def test_a_killed_training_on_two_devices_goes_on_bit_for_bit(root):
    through, resumed = (after_three_steps(f"{root}/{name}") for name in ("softmax/all", "resumed"))
    assert through[1] == resumed[1]
    for name, array in through[0].items():
        np.testing.assert_array_equal(array, resumed[0][name], err_msg=name)


@pytest.mark.usefixtures("said")
def test_what_began_on_two_devices_can_go_on_on_one(root):
    assert_close(f"{root}/softmax/one", f"{root}/moved")


def test_a_batch_that_cannot_be_shared_evenly_is_refused(said):
    assert said == [
        "batch_size 3: 2 devices need a multiple of 2",
        "batch_size 3: 2 devices need a multiple of 6",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_every_loss_and_optimizer_is_one_devices(tmp_path, crops_uri, devices):
    run(devices, str(tmp_path), crops_uri, OTHERS)
    for case in OTHERS:
        # Kernels, centers and their moments. The bias before the last batch norm has a gradient
        # that is nothing but rounding, of which some optimizers make steps as long as any.
        assert_close(f"{tmp_path}/{case}/one", f"{tmp_path}/{case}/all", least_dimensions=2)
