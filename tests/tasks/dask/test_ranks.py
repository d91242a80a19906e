"""Ranks on a real Dask cluster of this machine give one process's weights, and none is lost unseen.

JAX runs on CPUs there, and gloo adds up what the ranks have computed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest

from facenet_core.config import ClusterConfig, TrainConfig
from facenet_core.errors import ConfigError
from facenet_core.storage import Outcome
from facenet_core.training import stage
from facenet_core.training.ranks import Rank
from facenet_core.training.stage import Step
from tasks.dask.cluster import DaskCluster, UnfitWorker
from tasks.dask.ranks import RankLost, train_on_ranks
from tests.support.engines import run_program
from tests.support.small_crops import write_crops
from tests.support.training_runs import changed

pytestmark = pytest.mark.timeout(900)  # on a busy machine
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")

# All that is drawn or averaged over a batch. Saving each step gives tests the time to disturb it.
SHARED = TrainConfig(
    model_def="tests.support.small_crops:tiny",
    image_size=32,
    embedding_size=8,
    batch_size=12,
    max_nrof_epochs=2,
    epoch_size=10,
    optimizer="adam",
    learning_rate=0.05,
    learning_rate_cosine=True,
    batch_norm_decay=0.5,
    keep_probability=0.8,
    weight_decay=1e-4,
    center_loss_factor=1e-2,
    prelogits_norm_loss_factor=1e-3,
    moving_average_decay=0.9,
    random_crop=True,
    random_flip=True,
    random_rotate=True,
    random_cutout=5,
    validation_set_split_ratio=0.2,
    checkpoint_every=1,
    nrof_preprocess_threads=2,
)
ALONE = """
import sys

from facenet_core.config import TrainConfig
from facenet_core.training import stage

root, crops_uri, config = sys.argv[1:]
config = TrainConfig.model_validate_json(config)
plan = stage.plan_train(root, crops_uri, config)
stage.train(plan, config, run_id="alone")
"""
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def crops_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("crops") / "store"
    return write_crops(str(root), {"Cy": 8, "Ann": 8, "Bob": 8, "Di": 2})


@pytest.fixture(autouse=True)
def _jax(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in JAX.items():
        monkeypatch.setenv(name, value)


def alone(root: Path, crops_uri: str, config: TrainConfig) -> None:
    run_program(ALONE, JAX, str(root), crops_uri, config.model_dump_json(exclude_unset=True))


def on_ranks(
    count: int,
    root: Path,
    crops_uri: str,
    config: TrainConfig,
    progress: Callable[[Step], None] = lambda step: None,
) -> Outcome:
    plan = stage.plan_train(str(root), crops_uri, config)
    with closing(DaskCluster(ClusterConfig(train_workers=count).for_training())) as cluster:
        try:
            return train_on_ranks(cluster, count, plan, config, "ranks", progress)
        finally:
            deadline = time.monotonic() + 10
            while rank_processes():
                assert time.monotonic() < deadline, "a rank outlives its training"
                time.sleep(0.1)


def rank_processes() -> list[psutil.Process]:
    """The ranks under this process."""
    ranks = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # it has just ended
            if "facenet_core.training.ranks" in process.cmdline():
                ranks.append(process)
    return ranks


def last_checkpoint(root: Path) -> dict[str, np.ndarray]:
    """All variables by number: network, classifier, centers, averages, optimizer."""
    newest = max(root.rglob("step-*.npz"), key=lambda path: (path.name, path.stat().st_mtime))
    with np.load(newest) as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("arr_")}


def assert_close(root: Path, other: Path) -> None:
    one, two = last_checkpoint(root), last_checkpoint(other)
    assert one.keys() == two.keys()
    for name, array in one.items():
        tolerance = 1e-5 * max(1, np.abs(array).max())
        np.testing.assert_allclose(array, two[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, crops_uri: str) -> Path:
    root = tmp_path_factory.mktemp("one")
    alone(root, crops_uri, SHARED)
    return root


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, crops_uri: str) -> Path:
    root = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in JAX.items():
            patch.setenv(name, value)
        steps: list[int] = []
        outcome = on_ranks(2, root, crops_uri, SHARED, lambda step: steps.append(step.step))
    assert steps == sorted(steps)
    assert steps[-1] == outcome.counts["steps"] == 20
    return root


@needs_jax
@pytest.mark.slow
def test_two_ranks_give_the_weights_of_one_process(one: Path, two: Path) -> None:
    assert_close(one, two)


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "options"),
    [
        (4, {}),
        (3, {"classifier_sharding": True}),
        (
            2,
            {
                "loss": "arcface",
                "logit_scale": 8.0,
                "classifier_sharding": True,
                "classifier_sample_rate": 0.4,
            },
        ),
        (2, {"loss": "arcface", "logit_scale": 8.0, "optimizer": "momentum"}),
        (
            2,
            {
                "loss": "triplet",
                "alpha": 1.9,
                "center_loss_factor": 0,
                "validation_set_split_ratio": 0,
                "learning_rate": 0.001,
                "people_per_batch": 4,
                "images_per_person": 6,
            },
        ),
    ],
    ids=["four", "divided", "divided sample", "arcface", "triplet"],
)
def test_more_ranks_and_other_losses_do_so_too(
    tmp_path: Path, crops_uri: str, ranks: int, options: dict
) -> None:
    config = changed(SHARED, **options)
    alone(tmp_path / "one", crops_uri, config)
    on_ranks(ranks, tmp_path / "ranks", crops_uri, config)
    assert_close(tmp_path / "one", tmp_path / "ranks")


def signalling(signal_number: int, signalled: list[float]) -> Callable[[Step], None]:
    """Sends a signal to one of the ranks once training has begun."""

    def progress(step: Step) -> None:
        if not signalled and step.step >= 2:
            rank_processes()[-1].send_signal(signal_number)
            signalled.append(time.monotonic())

    return progress


@needs_jax
@pytest.mark.slow
def test_after_a_killed_rank_one_process_goes_on_to_the_same_weights(
    tmp_path: Path, crops_uri: str, one: Path
) -> None:
    signalled: list[float] = []
    host = socket.gethostname()
    with pytest.raises(RankLost, match=rf"rank [01] of 2 on {host} .* ended with SIGKILL"):
        on_ranks(2, tmp_path, crops_uri, SHARED, signalling(signal.SIGKILL, signalled))
    assert time.monotonic() - signalled[0] < 60
    assert len(list(tmp_path.rglob("manifest.json"))) == 0
    alone(tmp_path, crops_uri, SHARED)
    assert_close(one, tmp_path)


@needs_jax
@pytest.mark.slow
def test_a_stopped_rank_is_noticed_and_named(tmp_path: Path, crops_uri: str) -> None:
    signalled: list[float] = []
    with pytest.raises(RankLost, match=r"rank [01] of 2 on .* gave no sign of life for 20 s"):
        on_ranks(2, tmp_path, crops_uri, SHARED, signalling(signal.SIGSTOP, signalled))
    assert time.monotonic() - signalled[0] < 60


@needs_jax
@pytest.mark.slow
def test_prefect_retries_a_training_that_lost_a_rank_and_gets_the_same_bits(
    tmp_path: Path, crops_uri: str, two: Path
) -> None:
    config = tmp_path / "train.json"  # which is YAML
    settings = SHARED.model_dump_json(exclude_unset=True)
    config.write_text(f'{{"train": {settings}, "storage": "{tmp_path}/store"}}')
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "flows.cli", "train", crops_uri, f"--config={config}"]
    process = subprocess.Popen(
        [*command, "--train-workers", "2"],
        env={**os.environ, "PYTHONPATH": path, "PREFECT_HOME": str(tmp_path / "prefect")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while not list(tmp_path.rglob("step-000000003.npz")):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        rank_processes()[0].kill()
        output, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, output
    undisturbed, retried = last_checkpoint(two), last_checkpoint(tmp_path / "store")
    for name, array in undisturbed.items():
        np.testing.assert_array_equal(array, retried[name], err_msg=name)


@needs_jax
@pytest.mark.slow
def test_what_training_refuses_is_the_error_of_all_ranks(tmp_path: Path, crops_uri: str) -> None:
    with pytest.raises(ConfigError, match="batch_size 13: 2 devices need a multiple of 2"):
        on_ranks(2, tmp_path, crops_uri, changed(SHARED, batch_size=13))


def test_too_few_workers_are_an_error_in_time() -> None:
    config = ClusterConfig(workers=1, worker_timeout=5)
    with (
        closing(DaskCluster(config)) as cluster,
        pytest.raises(UnfitWorker, match="train_workers is 2, and fewer workers came"),
    ):
        cluster.choose_workers(2)


def test_another_backend_is_refused_and_jax_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, crops_uri: str
) -> None:
    import keras

    if keras.backend.backend() == "jax":
        pytest.skip("the backend is JAX")
    monkeypatch.delenv("KERAS_BACKEND")
    with pytest.raises(ConfigError, match=r"train_workers: only JAX .* set KERAS_BACKEND=jax"):
        on_ranks(2, tmp_path, crops_uri, SHARED)


def test_ranks_divide_a_batch_without_gap_or_overlap() -> None:
    rows = np.arange(12)
    parts = [rows[Rank(number, 3).own(len(rows))] for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
