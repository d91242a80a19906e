"""Metrics on the way: pairs of other people, the best epoch, early stop, TensorBoard."""

import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from facenet_core import storage
from facenet_core.config import TrainConfig, ValidateConfig
from facenet_core.errors import ConfigError
from facenet_core.evaluation.stage import plan_validate, validate
from facenet_core.training import stage
from tests.support.small_crops import write_crops
from tests.support.training_runs import SMALL, Killed, changed, history, kill_at, run, weights


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Crops of four other people, with a file of pairs."""
    root = tmp_path_factory.mktemp("others")
    uri = write_crops(str(root / "store"), dict.fromkeys(("Kay", "Lee", "Max", "Ned"), 4))
    pairs = ["fold,image_id_a,image_id_b,same"]
    for fold, (one, two) in enumerate([("Kay", "Lee"), ("Max", "Ned")]):
        for shot in range(3):
            for other, same in ((one, 1), (two, 0)):
                pairs.append(f"{fold},{one}/{one}_{shot:04d},{other}/{other}_{shot + 1:04d},{same}")
    file = root / "pairs.csv"
    file.write_text("\n".join(pairs))
    return {"lfw_dir": uri, "lfw_pairs": str(file)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, crops_uri, others):
    root = str(tmp_path_factory.mktemp("store"))
    config = changed(
        SMALL, **others, keep_best=True, moving_average_decay=0.5, log_histograms=True,
        random_rotate=True, max_nrof_epochs=4,
    )  # fmt: skip
    return run(root, crops_uri, config)


def test_an_epoch_is_measured_as_the_validate_stage_would(tmp_path, crops_uri, others):
    model = run(str(tmp_path), crops_uri, changed(SMALL, **others))
    config = ValidateConfig(pairs=others["lfw_pairs"], bootstrap_replicates=0)
    metrics = validate(
        plan_validate(str(tmp_path), others["lfw_dir"], model, config), config
    ).details["metrics"]
    last = history(model)[-1]
    assert last["lfw_accuracy"] == pytest.approx(metrics["accuracy"])
    assert last["lfw_auc"] == pytest.approx(metrics["auc"])


def test_only_due_epochs_and_the_last_are_measured(tmp_path, crops_uri, others):
    config = changed(SMALL, **others, lfw_every_n_epochs=2)
    rows = history(run(str(tmp_path), crops_uri, config))
    assert [row["lfw_accuracy"] is not None for row in rows] == [False, True, True]


def test_the_best_epoch_is_what_is_kept(measured):
    rows = history(measured)
    best = max(rows, key=lambda row: row["lfw_accuracy"])
    details = storage.open_artifact(measured, "train").details
    assert details["best_step"] == best["step"]
    assert details["final"]["epoch"] == best["epoch"]
    steps = {uri[-13:-4] for uri in storage.list_files(f"{measured}/attempts")}
    assert steps == {f"{best['step']:09d}", f"{rows[-1]['step']:09d}"}


def test_averaged_and_raw_weights_are_saved_and_measured_beside_each_other(measured):
    names = {part.name for part in storage.open_artifact(measured, "train").parts}
    assert {"model.keras", "model-raw.keras"} <= names
    assert all(row["lfw_accuracy_raw"] is not None for row in history(measured))


def logged(model_uri):
    """Tag and kind of every value in the TensorBoard files of a model."""
    results = set()
    for uri in storage.list_files(f"{model_uri}/logs"):
        data = storage.read_bytes(uri)
        while data:
            # A record is its length, a checksum of that, the event, and a checksum of it.
            (length,) = struct.unpack("<Q", data[:8])
            for value in Event.FromString(data[12 : 12 + length]).summary.value:
                results.add((value.tag, value.WhichOneof("value")))
            data = data[12 + length + 4 :]
    return results


def test_tensorboard_shows_losses_rate_images_and_histograms(measured):
    result = logged(measured)
    for tag in ("train/cross_entropy", "train/accuracy", "train/embedding_norm", "learning_rate"):
        assert (tag, "simple_value") in result
    assert ("lfw/accuracy", "simple_value") in result
    assert ("gradients/norm", "simple_value") in result
    assert any(tag.startswith("gradients/conv1") for tag, _ in result)
    assert ("train/embeddings", "histo") in result
    assert any(kind == "image" for _, kind in result)
    assert any(tag.startswith("weights/") and kind == "histo" for tag, kind in result)


def test_early_stop_ends_training_and_a_resumed_one_at_the_same_epoch(tmp_path, crops_uri, others):
    # At a rate of nothing no epoch is better than the first.
    config = changed(SMALL, **others, learning_rate=1e-30, early_stop=2, max_nrof_epochs=9,
                     batch_norm_decay=0.999999)  # fmt: skip
    model = run(str(tmp_path / "through"), crops_uri, config)
    assert [row["epoch"] for row in history(model)] == [1, 2, 3]
    assert storage.open_artifact(model, "train").counts["epochs"] == 3
    with pytest.raises(Killed):
        run(str(tmp_path), crops_uri, config, "first", kill_at(15))
    resumed = run(str(tmp_path), crops_uri, config, "second", kill_at(16))
    for one, other in zip(weights(resumed), weights(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pairs_determine_the_model_only_where_they_decide(tmp_path, crops_uri, others):
    def fingerprint(**fields):
        return stage.plan_train(str(tmp_path), crops_uri, changed(SMALL, **fields)).fingerprint

    assert fingerprint() == fingerprint(**others)
    assert fingerprint() != fingerprint(**others, keep_best=True)
    elsewhere = tmp_path / "same-pairs.csv"
    with open(others["lfw_pairs"]) as file:
        elsewhere.write_text(file.read())
    assert fingerprint(**others, keep_best=True) == fingerprint(
        lfw_dir=others["lfw_dir"], lfw_pairs=str(elsewhere), keep_best=True
    )


def test_resuming_what_went_by_pairs_needs_them_again(tmp_path, crops_uri, measured):
    with pytest.raises(ConfigError, match=r"give lfw_dir and lfw_pairs, or keep_best: false"):
        stage.plan_train(str(tmp_path), crops_uri, TrainConfig(resume=measured, max_nrof_epochs=9))
    config = TrainConfig(resume=measured, max_nrof_epochs=9, keep_best=False)
    assert stage.plan_train(str(tmp_path), crops_uri, config).config["resume"]


@pytest.mark.parametrize("fields", [{"keep_best": True}, {"early_stop": 3}])
def test_without_anything_to_go_by_stopping_is_refused(fields):
    with pytest.raises(ValueError, match="need something to go by"):
        changed(SMALL, **fields)
