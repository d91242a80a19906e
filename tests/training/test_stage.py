"""Training, from crops to a model that is published."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from facenet_core import storage
from facenet_core.errors import ArtifactError, ConfigError, ModelError, TrainingError
from facenet_core.models.face_model import FaceModel, load_network
from facenet_core.training import checkpoints, stage
from facenet_core.training.input.data import open_data
from tests.support import training_runs
from tests.support.small_crops import draw, write_crops
from tests.support.training_runs import Killed, changed, history, kill_at, run, weights

SMALL = changed(training_runs.SMALL, validation_set_split_ratio=0.2, validate_every_n_epochs=1)
EVERYTHING = SMALL.model_copy(
    update={
        "keep_probability": 0.8,
        "weight_decay": 1e-4,
        "center_loss_factor": 1e-2,
        "prelogits_norm_loss_factor": 1e-3,
        "moving_average_decay": 0.9,
        "random_crop": True,
        "random_flip": True,
        "checkpoint_every": 3,
        "checkpoints_kept": 2,
    }
)


@pytest.fixture(scope="module")
def everything_uri(tmp_path_factory, crops_uri):
    return run(str(tmp_path_factory.mktemp("store")), crops_uri, EVERYTHING)


@pytest.fixture(scope="module")
def small_uri(tmp_path_factory, crops_uri):
    return run(str(tmp_path_factory.mktemp("store")), crops_uri, SMALL)


def test_learns_to_tell_people_apart(root, crops_uri):
    config = SMALL.model_copy(update={"model_def": "squeezenet", "max_nrof_epochs": 12})
    uri = run(root, crops_uri, config)
    rows = history(uri)
    assert rows[-1]["cross_entropy"] < rows[0]["cross_entropy"] / 3
    embedder = FaceModel.load(uri)
    ann, bob = (embedder.embed(np.stack([draw(p, shot) for shot in (98, 99)])) for p in (1, 2))
    assert np.linalg.norm(ann[0] - ann[1]) < np.linalg.norm(ann - bob, axis=1).min()


def test_a_model_is_weights_history_and_logs(small_uri):
    manifest = storage.open_artifact(small_uri, "train")
    names = [part.name.split(".")[0] for part in manifest.parts]
    assert names == ["history", "logs/events", "model"]
    assert manifest.name == "faces"
    assert manifest.counts == {
        "identities": 4,
        "training_images": 19,
        "validation_images": 7,
        "epochs": 3,
        "steps": 15,
    }


def test_the_manifest_says_what_users_of_the_model_need(small_uri):
    details = storage.open_artifact(small_uri, "train").details
    assert details["labels"] == ["Ann", "Bob", "Cy", "Di"]
    assert (details["image_size"], details["embedding_size"]) == (32, 8)
    assert details["use_fixed_image_standardization"] is False
    assert details["parameters"] == FaceModel.load(small_uri).network.count_params()
    assert details["final"]["loss"] == history(small_uri)[-1]["loss"]


def test_history_has_a_row_an_epoch(small_uri):
    rows = history(small_uri)
    assert [(row["epoch"], row["step"], row["images"]) for row in rows] == [
        (1, 5, 30),
        (2, 10, 60),
        (3, 15, 90),
    ]
    assert all(0 <= row["accuracy"] <= 1 and 0 <= row["validation_accuracy"] <= 1 for row in rows)
    assert all(row["loss"] == row["cross_entropy"] for row in rows)


def test_figures_are_of_their_epoch_alone(root, crops_uri):
    steps = {}
    uri = run(root, crops_uri, SMALL, progress=lambda now: steps.update({now.step: now}))
    for row in history(uri):
        assert row["loss"] == pytest.approx(steps[row["step"]].loss)


def test_the_loss_is_the_sum_of_its_parts(root, crops_uri):
    config = SMALL.model_copy(update={"weight_decay": 1e-3, "center_loss_factor": 0.1})
    row = history(run(root, crops_uri, config))[0]
    parts = row["cross_entropy"] + row["weight_decay"] + 0.1 * row["center_loss"]
    assert row["loss"] == pytest.approx(parts, rel=1e-5)
    assert row["weight_decay"] > 0
    assert row["center_loss"] > 0


def test_the_same_training_gives_the_same_weights_and_history(root, crops_uri, everything_uri):
    again = run(root, crops_uri, EVERYTHING)
    assert history(again) == history(everything_uri)
    for one, other in zip(weights(again), weights(everything_uri), strict=True):
        np.testing.assert_array_equal(one, other)


# At the end of an epoch, just after a checkpoint, between two, and before there is one.
EXEMPLARY = (5, 6, 8, 2)
OTHERS = sorted(set(range(1, 15)) - set(EXEMPLARY))


@pytest.mark.parametrize(
    "step", [*EXEMPLARY, *(pytest.param(step, marks=pytest.mark.slow) for step in OTHERS)]
)
def test_an_interrupted_training_gives_the_same_as_one_that_ran_through(
    root, crops_uri, everything_uri, step
):
    with pytest.raises(Killed):
        run(root, crops_uri, EVERYTHING, "first", kill_at(step))
    seen = []
    resumed = run(root, crops_uri, EVERYTHING, "second", lambda now: seen.append(now.step))
    checkpoints = (0, 3, 5, 6, 9, 10, 12)
    assert seen[0] == max(done for done in checkpoints if done <= step) + 1
    assert history(resumed) == history(everything_uri)
    for one, other in zip(weights(resumed), weights(everything_uri), strict=True):
        np.testing.assert_array_equal(one, other)


TRAIN_IN_A_PROCESS = """
import sys
from facenet_core.config import TrainConfig
from facenet_core.training import stage
config = TrainConfig.model_validate_json(sys.argv[3])
plan = stage.plan_train(sys.argv[1], sys.argv[2], config)
stage.train(plan, config, run_id="killed", progress=lambda now: print(now.step, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_process_killed_in_a_random_step_costs_no_bit(root, crops_uri, everything_uri, seed):
    drawn = random.Random(seed)
    step, into_the_next = drawn.randrange(1, 15), drawn.uniform(0, 0.02)
    arguments = [root, crops_uri, EVERYTHING.model_dump_json(exclude_unset=True)]
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN_IN_A_PROCESS, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == step:
            time.sleep(into_the_next)
            process.kill()
    assert process.wait() == -signal.SIGKILL
    resumed = run(root, crops_uri, EVERYTHING, "second")
    assert history(resumed) == history(everything_uri)
    for one, other in zip(weights(resumed), weights(everything_uri), strict=True):
        np.testing.assert_array_equal(one, other)


def test_figures_of_an_epoch_survive_an_interruption_in_its_midst(root, crops_uri):
    long = {"epoch_size": 14, "max_nrof_epochs": 1, "checkpoint_every": 12}
    config = EVERYTHING.model_copy(update=long)
    through = history(run(f"{root}/through", crops_uri, config))
    with pytest.raises(Killed):
        run(root, crops_uri, config, "first", kill_at(13))
    assert history(run(root, crops_uri, config, "second")) == through


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    root, crops_uri, everything_uri, caplog
):
    with pytest.raises(Killed):
        run(root, crops_uri, EVERYTHING, "first", kill_at(6))
    folder = Path(stage.plan_train(root, crops_uri, EVERYTHING).uri, "attempts/first/checkpoints")
    older, newer = sorted(folder.iterdir())
    newer.write_bytes(newer.read_bytes()[:-1000])
    seen = []
    resumed = run(root, crops_uri, EVERYTHING, "second", lambda now: seen.append(now.step))
    assert seen[0] == 6
    assert older.name == "step-000000005.npz"
    assert f"{newer}: passed over" in caplog.text
    for one, other in zip(weights(resumed), weights(everything_uri), strict=True):
        np.testing.assert_array_equal(one, other)


def test_trains_and_resumes_on_object_storage(bucket, everything_uri):
    crops = write_crops(bucket, {"Cy": 8, "Ann": 8, "Bob": 8, "Di": 2})
    with pytest.raises(Killed):
        run(bucket, crops, EVERYTHING, "first", kill_at(8))
    resumed = run(bucket, crops, EVERYTHING, "second")
    names = [uri.removeprefix(resumed) for uri in storage.list_files(resumed)]
    assert [name for name in names if name.startswith("/attempts")] == [
        "/attempts/second/checkpoints/step-000000015.npz"
    ]
    assert len([name for name in names if name.startswith("/logs/")]) == 2
    for one, other in zip(weights(resumed), weights(everything_uri), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_interrupted_training_leaves_only_its_attempt(root, crops_uri):
    with pytest.raises(Killed):
        run(root, crops_uri, EVERYTHING, "first", kill_at(11))
    plan = stage.plan_train(root, crops_uri, EVERYTHING)
    assert [path.name for path in Path(plan.uri).iterdir()] == ["attempts"]
    files = [path.name for path in Path(plan.uri, "attempts/first/checkpoints").iterdir()]
    assert sorted(files) == ["step-000000009.npz", "step-000000010.npz"]
    with pytest.raises(ArtifactError, match="no finished artifact"):
        FaceModel.load(plan.uri)


def test_finishing_keeps_the_last_checkpoint_only(everything_uri):
    files = [path for path in Path(everything_uri, "attempts").rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["step-000000015.npz"]


def test_a_finished_training_is_not_trained_again(small_uri, crops_uri):
    root = str(Path(small_uri).parents[2])
    before = storage.read_bytes(storage.join(small_uri, "manifest.json"))
    run(root, crops_uri, SMALL, "again", kill_at(1))
    assert storage.read_bytes(storage.join(small_uri, "manifest.json")) == before


def test_averaged_weights_are_what_is_saved(root, crops_uri, everything_uri):
    config = EVERYTHING.model_copy(update={"moving_average_decay": 0.0})
    averaged, last = weights(everything_uri)[0], weights(run(root, crops_uri, config))[0]
    assert averaged.shape == last.shape
    assert not np.array_equal(averaged, last)
    np.testing.assert_allclose(averaged, last, atol=0.2)


def test_progress_tells_how_far_training_is(root, crops_uri):
    steps = []
    run(root, crops_uri, SMALL, progress=steps.append)
    assert [step.step for step in steps] == list(range(1, 16))
    assert steps[5].epoch == 2
    assert (steps[-1].steps, steps[-1].epochs) == (15, 3)
    assert steps[0].loss is None
    assert steps[-1].loss == pytest.approx(steps[-1].cross_entropy)


def test_a_schedule_sets_the_rates_and_the_end(root, crops_uri, tmp_path):
    file = tmp_path / "schedule.txt"
    file.write_text("1: 0.05\n2: 0.01\n3: -1\n")
    config = SMALL.model_copy(
        update={"learning_rate": -1.0, "learning_rate_schedule_file": str(file)}
    )
    rows = history(run(root, crops_uri, config))
    assert [(row["epoch"], row["learning_rate"]) for row in rows] == [(1, 0.05), (2, 0.01)]


def test_the_rate_of_an_epoch_is_what_its_steps_are_taken_with(root, crops_uri, tmp_path):
    file = tmp_path / "schedule.txt"
    file.write_text("1: 0.05\n2: 1e-30\n")
    one_epoch = SMALL.model_copy(update={"max_nrof_epochs": 1})
    scheduled = SMALL.model_copy(
        update={"learning_rate": -1.0, "learning_rate_schedule_file": str(file)}
    )
    kernel, after_standing_still = (
        weights(run(root, crops_uri, config))[0] for config in (one_epoch, scheduled)
    )
    np.testing.assert_array_equal(kernel, after_standing_still)


def test_the_rates_and_not_their_file_determine_the_model(root, crops_uri, tmp_path):
    files = [tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"]
    for file, text in zip(files, ["0: 0.05", "0:0.050 # same", "0: 0.06"], strict=True):
        file.write_text(text)
    a, b, c = (
        stage.plan_train(
            root,
            crops_uri,
            SMALL.model_copy(
                update={"learning_rate": -1.0, "learning_rate_schedule_file": str(file)}
            ),
        ).uri
        for file in files
    )
    assert a == b != c


def test_where_it_runs_does_not_determine_the_model(root, crops_uri):
    other = SMALL.model_copy(update={"nrof_preprocess_threads": 7, "checkpoint_every": 3})
    plan = stage.plan_train(root, crops_uri, SMALL)
    assert stage.plan_train(root, crops_uri, other).uri == plan.uri


def test_people_with_few_images_are_left_out(root, crops_uri):
    config = SMALL.model_copy(update={"filter_min_nrof_images_per_class": 3, "max_nrof_epochs": 1})
    manifest = storage.open_artifact(run(root, crops_uri, config), "train")
    assert manifest.details["labels"] == ["Ann", "Bob", "Cy"]


def test_one_person_alone_is_an_error(root):
    crops = write_crops(root, {"Ann": 9})
    with pytest.raises(TrainingError, match="to tell people apart takes two"):
        run(root, crops, SMALL)


def test_nobody_held_out_is_said(root, caplog):
    crops = write_crops(root, dict.fromkeys(("Ann", "Bob", "Cy"), 1))
    config = changed(SMALL, random_crop=True, image_size=36)
    open_data(crops, config)
    assert "no image is held out, as none of 3 people has 2 images" in caplog.messages[0]
    assert "random_crop has no effect: the crops are as large" in caplog.messages[1]
    stopping = changed(SMALL, early_stop=2, monitor="validation_accuracy")
    with pytest.raises(TrainingError, match=r"no image is held out.*nothing to go by"):
        open_data(crops, stopping)


def test_crops_smaller_than_the_input_are_an_error_at_the_start(root, crops_uri):
    config = SMALL.model_copy(update={"image_size": 40})
    with pytest.raises(TrainingError, match=r"36×36 pixels, image_size is 40.*image_size 36"):
        stage.plan_train(root, crops_uri, config)


def test_a_loss_that_is_not_finite_stops_training_with_advice(root, crops_uri):
    config = SMALL.model_copy(update={"learning_rate": 1e30, "optimizer": "momentum"})
    with pytest.raises(TrainingError, match=r"not finite at step 5 .*Lower the learning rate"):
        run(root, crops_uri, config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epoch_size": 2, "learning_rate": 1e12}, "not finite at step 2 "),
        ({"moving_average_decay": 0.5}, "not finite at step 1 "),
    ],
)
def test_the_last_update_of_an_epoch_is_looked_at_too(root, crops_uri, fields, message):
    # Its loss was taken before it.
    broken = {"learning_rate": 1e30, "optimizer": "momentum", "epoch_size": 1}
    config = SMALL.model_copy(update={**broken, **fields})
    with pytest.raises(TrainingError, match=rf"(weights|embeddings) are {message}.*Lower the"):
        run(root, crops_uri, config)
    plan = stage.plan_train(root, crops_uri, config)
    assert not storage.exists(storage.join(plan.uri, storage.MANIFEST))
    assert not checkpoints.uris(plan.uri)


def test_a_model_with_weights_that_are_no_numbers_is_not_loaded(small_uri, tmp_path):
    network = FaceModel.load(small_uri).network
    path = str(tmp_path / "broken.keras")
    network.layers[-1].set_weights([np.full_like(w, np.nan) for w in network.layers[-1].weights])
    network.save(path)
    with pytest.raises(ModelError, match=r"broken\.keras: \d of \d+ weights are not finite"):
        load_network(path)


def test_an_unknown_network_is_refused_before_anything_is_read(root, crops_uri):
    with pytest.raises(ConfigError, match="no network `resnet`"):
        stage.plan_train(root, crops_uri, SMALL.model_copy(update={"model_def": "resnet"}))


def test_a_batch_larger_than_the_data_takes_images_twice(root, crops_uri):
    config = SMALL.model_copy(update={"batch_size": 50, "max_nrof_epochs": 1, "epoch_size": None})
    assert history(run(root, crops_uri, config))[0]["images"] == 50
