"""Training that starts from a finished model, or from its weights."""

import numpy as np
import pytest

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.errors import ConfigError, TrainingError
from facenet_core.privacy.forget import plan_forgetting
from facenet_core.storage import trained_people
from facenet_core.training import stage
from tests.support.small_crops import write_crops
from tests.support.training_runs import SMALL, Killed, changed, history, kill_at, run, weights

WITH_STATE = changed(
    SMALL, center_loss_factor=1e-2, keep_probability=0.8, random_crop=True, checkpoint_every=3
)


@pytest.fixture(scope="module")
def parent(tmp_path_factory, crops_uri):
    return run(str(tmp_path_factory.mktemp("store")), crops_uri, WITH_STATE)


def assert_equal_weights(one, other):
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_resuming_equals_having_trained_for_longer_at_once(root, crops_uri, parent):
    longer = run(f"{root}/at-once", crops_uri, changed(WITH_STATE, max_nrof_epochs=5))
    resume = TrainConfig(resume=parent, max_nrof_epochs=5, checkpoint_every=3)
    with pytest.raises(Killed):
        run(root, crops_uri, resume, "first", kill_at(19))
    seen = []
    resumed = run(root, crops_uri, resume, "second", lambda now: seen.append(now.step))
    assert seen == list(range(19, 26))
    assert_equal_weights(resumed, longer)
    assert history(resumed) == history(longer)


def test_the_manifest_names_the_parent_and_the_whole_configuration(root, crops_uri, parent):
    plan = stage.plan_train(root, crops_uri, TrainConfig(resume=parent, max_nrof_epochs=5))
    manifest = storage.open_artifact(parent, "train")
    assert [source.uri for source in plan.inputs] == [crops_uri, parent]
    assert plan.config["resume"] == manifest.fingerprint
    differing = {k for k in plan.config if plan.config[k] != manifest.config.get(k)}
    assert differing == {"resume", "max_nrof_epochs"}


def test_the_names_of_many_people_lie_beside_the_manifest(root, crops_uri, monkeypatch):
    monkeypatch.setattr(trained_people, "_MANY", 3)
    model = run(root, crops_uri, WITH_STATE)
    manifest = storage.open_artifact(model, "train")
    assert "labels" not in manifest.details
    assert trained_people.read(manifest).to_pylist() == ["Ann", "Bob", "Cy", "Di"]
    (model_of_bob,) = plan_forgetting(root, "Bob").affected
    assert "trained on the person" in model_of_bob.why
    resumed = run(root, crops_uri, TrainConfig(resume=model, max_nrof_epochs=5))
    assert storage.open_artifact(resumed, "train").counts["steps"] == 25


def test_a_rate_that_is_given_replaces_the_parents(root, crops_uri, parent):
    options = {"resume": parent, "max_nrof_epochs": 5, "learning_rate": 0.001}
    plan = stage.plan_train(root, crops_uri, TrainConfig(**options))
    assert plan.config["learning_rate_schedule"] == "1: 0.001"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "was trained for 3 epochs already; ask for more"),
        ({"max_nrof_epochs": 5, "embedding_size": 9}, "no checkpoint that fits"),
        ({"max_nrof_epochs": 5, "epoch_size": 4}, r"epoch 3 ended at step 15.* at 12"),
    ],
)
def test_what_cannot_be_resumed_is_said(root, crops_uri, parent, options, message):
    with pytest.raises((ConfigError, TrainingError), match=message):
        run(root, crops_uri, TrainConfig(resume=parent, **options))


def test_an_imported_model_has_no_training_to_resume(root, crops_uri):
    plan = storage.plan_stage(root, "train", "imported", {}, [], 1)
    storage.publish(plan, storage.Outcome([], {"parameters": 1}), {})
    with pytest.raises(ConfigError, match=r"was not trained here.*use --from"):
        stage.plan_train(root, crops_uri, TrainConfig(resume=plan.uri))


def test_other_people_are_for_fine_tuning(root, parent):
    others = write_crops(root, {"Eve": 6, "Flo": 6})
    with pytest.raises(TrainingError, match=r"other people.*use --from"):
        run(root, others, TrainConfig(resume=parent, max_nrof_epochs=5))
    tuned = run(root, others, changed(SMALL, pretrained_model=parent, learning_rate=1e-9))
    # At so low a rate the kernels are still the parent's.
    np.testing.assert_allclose(weights(tuned)[0], weights(parent)[0], atol=1e-6)


@pytest.fixture(scope="module")
def fixed_parent(tmp_path_factory, crops_uri):
    config = changed(SMALL, use_fixed_image_standardization=True, max_nrof_epochs=1)
    return run(str(tmp_path_factory.mktemp("fixed")), crops_uri, config)


def test_what_belongs_to_weights_comes_with_them(root, crops_uri, fixed_parent):
    brief = {"batch_size": 6, "max_nrof_epochs": 1, "epoch_size": 1, "learning_rate": 1e-9}
    config = TrainConfig(pretrained_model=fixed_parent, **brief)
    plan = stage.plan_train(root, crops_uri, config)
    assert plan.config["model_def"] == "tests.support.small_crops:tiny"
    assert (plan.config["image_size"], plan.config["embedding_size"]) == (32, 8)
    assert plan.config["use_fixed_image_standardization"] is True
    # Saying the same makes the same model.
    stated = changed(
        config,
        model_def="tests.support.small_crops:tiny",
        image_size=32,
        embedding_size=8,
        use_fixed_image_standardization=True,
    )
    assert stage.plan_train(root, crops_uri, stated).fingerprint == plan.fingerprint
    tuned = storage.open_artifact(run(root, crops_uri, config), "train")
    assert tuned.details["use_fixed_image_standardization"] is True
    assert tuned.details["model_def"] == "tests.support.small_crops:tiny"


@pytest.mark.parametrize("field", ["pretrained_model", "resume"])
@pytest.mark.parametrize(
    ("contradiction", "message"),
    [
        (
            {"model_def": "squeezenet"},
            r"model_def: tests\.support\.small_crops:tiny, .* model_def: squeezenet",
        ),
        ({"use_fixed_image_standardization": False}, "use_fixed_image_standardization: True"),
    ],
)
def test_what_contradicts_the_weights_is_refused(
    root, crops_uri, fixed_parent, field, contradiction, message
):
    config = TrainConfig(**{field: fixed_parent}, **contradiction, max_nrof_epochs=5)
    with pytest.raises(ConfigError, match=message):
        stage.plan_train(root, crops_uri, config)


def test_crops_that_are_cut_another_way_are_refused(root, crops_uri):
    crops = write_crops(root, {"Ann": 2, "Bob": 2}, crop="similarity")
    aligned = run(root, crops, changed(SMALL, max_nrof_epochs=1, epoch_size=1))
    others = write_crops(root, {"Ann": 2, "Bob": 2}, crop="original")
    with pytest.raises(ConfigError, match=r"`crop: similarity`, these are of `crop: original`"):
        stage.plan_train(root, others, TrainConfig(pretrained_model=aligned))
    stage.plan_train(root, crops, TrainConfig(pretrained_model=aligned))


def test_weights_of_another_network_are_an_error(root, crops_uri, parent):
    # One batch norm vector of equal name and size is no common network.
    config = changed(SMALL, pretrained_model=parent, model_def="tests.support.small_crops:namesake")
    with pytest.raises(TrainingError, match=r"has 1 of the 5 layers of namesake.*another network"):
        run(root, crops_uri, config)


def test_an_exported_network_has_no_layers_to_take(root, crops_uri):
    plan = storage.plan_stage(root, "train", "exported", {}, [], 1)
    storage.publish(plan, storage.Outcome([], {}, {"imported_from": {"kind": "keras"}}), {})
    with pytest.raises(ConfigError, match="use the model that it was exported from"):
        stage.plan_train(root, crops_uri, TrainConfig(pretrained_model=plan.uri))


def test_frozen_layers_stay_to_the_bit(root, crops_uri, parent):
    config = changed(SMALL, pretrained_model=parent, freeze=("conv1*", "Bottleneck"))
    tuned = dict(zip(names(parent), weights(run(root, crops_uri, config)), strict=True))
    before = dict(zip(names(parent), weights(parent), strict=True))
    moved = {name.split("/")[0] for name in tuned if not np.array_equal(tuned[name], before[name])}
    assert moved == {"conv2", "Bottleneck.BatchNorm"}


def names(model_uri):
    from facenet_core.models.face_model import FaceModel

    return [variable.path for variable in FaceModel.load(model_uri).network.weights]


@pytest.mark.parametrize(
    ("freeze", "message"), [(("conv9*",), "no layer is called `conv9"), (("*",), "no layer to")]
)
def test_patterns_that_make_no_sense_are_refused(root, crops_uri, freeze, message):
    with pytest.raises(ConfigError, match=message):
        run(root, crops_uri, changed(SMALL, freeze=freeze))


def test_layers_of_another_size_start_anew(root, crops_uri, parent):
    config = changed(SMALL, pretrained_model=parent, embedding_size=5, learning_rate=1e-9)
    tuned = weights(run(root, crops_uri, config))
    np.testing.assert_allclose(tuned[0], weights(parent)[0], atol=1e-6)
    assert tuned[-1].shape == (5,)
