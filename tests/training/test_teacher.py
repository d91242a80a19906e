"""Distillation: a network learns to give the embeddings of a teacher."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.errors import ConfigError, TrainingError
from facenet_core.models.face_model import FaceModel
from facenet_core.training import augmentation, losses, stage
from facenet_core.training.input import teacher
from facenet_core.training.input.data import open_data
from tests.support import training_runs
from tests.support.embedding import embedded, rows
from tests.support.small_artifacts import DIMENSIONS, publish_model
from tests.support.small_crops import draw, write_crops
from tests.support.training_runs import Killed, changed, history, kill_at, run, weights

PEOPLE = {"Cy": 8, "Ann": 8, "Bob": 8, "Di": 2}
STRANGERS = np.stack([draw(person, shot) for person in range(50, 60) for shot in range(2)])


@pytest.fixture(scope="module")
def teacher_uri(store: str) -> str:
    return publish_model(store, "teacher")


@pytest.fixture(scope="module")
def embeddings_uri(store: str, crops_uri: str, teacher_uri: str) -> str:
    return embedded(store, crops_uri, teacher_uri, use_flipped_images=True).uri


@pytest.fixture
def config(embeddings_uri: str):
    return changed(
        training_runs.SMALL,
        teacher=embeddings_uri,
        embedding_size=DIMENSIONS,
        random_flip=True,
        learning_rate=0.01,
        max_nrof_epochs=4,
        epoch_size=20,
    )


def test_without_labels_it_comes_to_embed_strangers_as_its_teacher_does(root, config):
    labelled = write_crops(root, {f"Teacher_{number}": 2 for number in range(30)})
    longer = {"batch_size": 20, "epoch_size": 60, "max_nrof_epochs": 6, "learning_rate": 0.02}
    own = {"embedding_size": DIMENSIONS, "seed": 7, "center_loss_factor": 0.01, **longer}
    teacher_uri = run(root, labelled, changed(training_runs.SMALL, **own))
    crops_uri = write_crops(root, {f"Person_{number}": 1 for number in range(60)})
    taught_by = embedded(root, crops_uri, teacher_uri, use_flipped_images=True).uri
    uri = run(root, crops_uri, changed(config, loss="none", teacher=taught_by, **longer))
    first, *_, last = history(uri)
    assert last["teacher_loss"] < first["teacher_loss"] / 2
    assert {first[name] for name in ("cross_entropy", "triplet_loss", "accuracy")} == {None}
    students, teachers = (FaceModel.load(model).embed(STRANGERS) for model in (uri, teacher_uri))
    cosines = students @ teachers.T
    assert np.diag(cosines).mean() > max(0.8, cosines.mean() + 0.3)


def test_one_folder_of_faces_is_a_training_set(root, teacher_uri, config):
    crops_uri = write_crops(root, {"faces": 12})
    taught_by = embedded(root, crops_uri, teacher_uri, use_flipped_images=True).uri
    uri = run(root, crops_uri, changed(config, loss="none", teacher=taught_by))
    assert storage.open_artifact(uri, "train").counts["identities"] == 1
    with pytest.raises(TrainingError, match="two at least"):
        run(root, crops_uri, changed(config, teacher=taught_by))


@pytest.mark.parametrize("loss", ["softmax", "arcface", "triplet"])
def test_beside_other_losses_its_distance_is_a_part_of_the_whole(root, crops_uri, config, loss):
    factors = {"teacher_factor": 3.0, "teacher_relation_factor": 2.0}
    uri = run(root, crops_uri, changed(config, loss=loss, **factors))
    for row in history(uri):
        parts = [row["cross_entropy"], row["triplet_loss"], 3 * row["teacher_loss"]]
        parts.append(2 * row["teacher_relation_loss"])
        assert row["loss"] == pytest.approx(sum(part for part in parts if part), rel=1e-5)


def test_its_relations_alone_can_be_learnt(root, crops_uri, config):
    factors = {"teacher_factor": 0.0, "teacher_relation_factor": 1.0}
    first, *_, last = history(run(root, crops_uri, changed(config, loss="none", **factors)))
    assert last["teacher_relation_loss"] < first["teacher_relation_loss"]
    assert last["teacher_loss"] < first["teacher_loss"]  # which follows


@pytest.mark.parametrize(("size", "relations"), [(DIMENSIONS, 0.0), (5, 1.0)])
def test_an_interrupted_training_goes_on_to_the_same_bits(root, crops_uri, config, size, relations):
    config = changed(config, embedding_size=size, checkpoint_every=3, max_nrof_epochs=1)
    config = changed(config, teacher_relation_factor=relations)
    through = run(storage.join(root, "through"), crops_uri, config)
    with pytest.raises(Killed):
        run(root, crops_uri, config, progress=kill_at(8))
    resumed = run(root, crops_uri, config, "second")
    assert history(resumed) == history(through)
    for one, other in zip(weights(resumed), weights(through), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_finished_model_goes_on_with_the_same_teacher(root, crops_uri, config):
    parent = run(root, crops_uri, changed(config, max_nrof_epochs=1))
    further = TrainConfig(resume=parent, max_nrof_epochs=2)
    child = storage.open_artifact(run(root, crops_uri, further), "train")
    assert child.config["teacher"] == storage.open_artifact(config.teacher, "embed").fingerprint


def test_of_another_size_it_is_learnt_from_through_a_layer_that_the_model_leaves_out(
    root, crops_uri, config
):
    uri = run(root, crops_uri, changed(config, loss="none", embedding_size=5))
    first, *_, last = history(uri)
    assert last["teacher_loss"] < first["teacher_loss"]
    assert FaceModel.load(uri).embed(STRANGERS).shape == (len(STRANGERS), 5)
    projection = losses.build_projection(DIMENSIONS, changed(config, embedding_size=5))
    products = projection.kernel.numpy() @ projection.kernel.numpy().T
    np.testing.assert_allclose(products, np.eye(5), atol=1e-5)  # angles stay


def test_the_model_names_its_teacher(root, crops_uri, teacher_uri, config):
    model = storage.open_artifact(run(root, crops_uri, config), "train")
    fingerprint = storage.open_artifact(teacher_uri, "train").fingerprint
    assert model.details["teacher"] == {"name": "teacher", "fingerprint": fingerprint}
    assert model.inputs[1].uri == config.teacher


def test_an_image_meets_its_own_embedding_mirrored_where_it_is(root, config):
    """Whatever crops of the photographs were embedded, in whatever shards."""
    other = write_crops(root, dict(reversed(PEOPLE.items())), parts=3)
    data = open_data(other, config)
    drawn = np.zeros((3, augmentation.COLUMNS), np.float32)
    drawn[1:, augmentation.MIRRORED] = 1
    some = np.array([3, 0, 25])
    batch, _ = data.batch(some, drawn)
    embeddings = rows(storage.open_artifact(config.teacher, "embed"))
    row_of = {row["image_id"]: row for row in embeddings if row["face_index"] == 0}
    own = [row_of[data.crops.image_id(row)] for row in some]
    columns = ("embedding", "embedding_flipped", "embedding_flipped")
    expected = [row[column] for row, column in zip(own, columns, strict=True)]
    np.testing.assert_array_equal(batch["teacher"], np.array(expected, np.float32))


def test_images_without_an_embedding_are_left_out_and_counted(root, config, caplog):
    crops_uri = write_crops(root, {**PEOPLE, "Eve": 4})
    data = open_data(crops_uri, config)
    assert len(data.selection.training) == 26
    assert "4 of 30 images have no embedding" in caplog.text
    strangers = write_crops(root, {"Fay": 3, "Gil": 3})
    with pytest.raises(TrainingError, match="no embedding of an image of"):
        teacher.read(storage.open_artifact(strangers, "align"), config.teacher, True)


def test_the_teacher_is_shown_the_mixes_that_its_student_learns_from(root, teacher_uri, config):
    """Of its own crops of the photographs, in whatever order they lie."""
    other = write_crops(root, PEOPLE, parts=3)
    data = open_data(other, changed(config, loss="none", teacher_mixes=7))
    last = len(data.crops) + 6
    drawn = np.zeros((2, augmentation.COLUMNS), np.float32)
    drawn[1, augmentation.MIRRORED] = 1
    batch, _ = data.batch(np.array([last, last]), drawn)
    image = batch["images"][:1]
    expected = FaceModel.load(teacher_uri).embed(np.concatenate([image, image[:, :, ::-1]]))
    np.testing.assert_allclose(batch["teacher"], expected, atol=1e-2)  # in half precision or not
    assert set(data.selection.training[-7:]) == set(range(len(data.crops), last + 1))


def test_mixes_are_trained_on_and_counted_and_resumed_to_the_same_bits(root, crops_uri, config):
    config = changed(config, loss="none", teacher_mixes=10, checkpoint_every=3, max_nrof_epochs=1)
    through = run(storage.join(root, "through"), crops_uri, config)
    counts = storage.open_artifact(through, "train").counts
    assert (counts["training_images"], counts["mixed_images"]) == (26, 10)
    with pytest.raises(Killed):
        run(root, crops_uri, config, progress=kill_at(8))
    resumed = run(root, crops_uri, config, "second")
    for one, other in zip(weights(resumed), weights(through), strict=True):
        np.testing.assert_array_equal(one, other)


def test_embeddings_that_lack_mirrored_images_are_refused_for_random_flips(
    root, crops_uri, teacher_uri, config
):
    plain = embedded(root, crops_uri, teacher_uri).uri
    assert open_data(crops_uri, changed(config, teacher=plain, random_flip=False)).teacher_size
    with pytest.raises(ConfigError, match="--use-flipped-images"):
        open_data(crops_uri, changed(config, teacher=plain))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "none"}, "leaves nothing to learn from; set teacher"),
        ({"loss": "none", "teacher": "t", "teacher_factor": 0}, "teacher_factor above 0"),
        ({"loss": "none", "teacher": "t", "center_loss_factor": 0.1}, "none knows no classes"),
        ({"loss": "none", "teacher": "t", "validation_set_split_ratio": 0.1}, "measure on other"),
        ({"teacher": "t", "teacher_mixes": 9}, "shows nobody whom loss: softmax could tell"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        changed(training_runs.SMALL, **fields)


def test_without_a_teacher_fingerprints_are_as_before(root, crops_uri):
    plan = stage.plan_train(root, crops_uri, training_runs.SMALL)
    assert not {"teacher", "teacher_factor", "teacher_relation_factor"} & plan.config.keys()
    assert "teacher_mixes" not in plan.config


def test_the_loss_is_one_less_the_cosine():
    prelogits = np.array([[2, 0], [0, 3], [-1, 0]], np.float32)
    vectors = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    result = keras.ops.convert_to_numpy(losses.teacher_loss(prelogits, vectors))
    np.testing.assert_allclose(result, [0, 1, 2], atol=1e-6)


def test_relations_differ_least_where_embeddings_are_the_teacher_s():
    random = np.random.default_rng(0)
    teachers = np.array(losses.unit_length(random.normal(size=(6, 4)).astype(np.float32)))
    ones = np.ones(6, np.float32)
    least, of_others = (
        keras.ops.convert_to_numpy(losses.relation_loss(prelogits, teachers, ones))
        for prelogits in (3 * teachers, np.roll(teachers, 1, axis=0))
    )
    shares = np.exp(10 * teachers @ teachers.T)
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(least, -(shares * np.log(shares)).sum(axis=1), rtol=1e-4)
    assert (least < of_others).all()


def test_images_that_fill_a_batch_are_nobody_s_relations():
    random = np.random.default_rng(0)
    both = losses.unit_length(random.normal(size=(10, 4)).astype(np.float32))
    students, teachers = np.split(np.array(both), 2)
    weight = np.array([1, 1, 1, 0, 0], np.float32)
    filled = losses.relation_loss(students, teachers, weight)
    alone = losses.relation_loss(students[:3], teachers[:3], weight[:3])
    np.testing.assert_allclose(np.array(filled)[:3], np.array(alone), rtol=1e-6)
