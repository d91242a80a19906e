"""Known people are named, strangers are unknown."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facenet_core.errors import ArtifactError, ConfigError
from facenet_core.recognition.classify import (
    UNKNOWN,
    ClassifierSettings,
    FaceClassifier,
    choose_examples,
    cross_validate,
)
from facenet_core.recognition.tables import Faces
from flows.cli.main import main

METHODS = ["svm", "knn"]


def people(names, each=6, seed=0, spread=0.1):
    """Embeddings that lie around a direction for each person."""
    random = np.random.default_rng(seed)
    directions = {name: np.eye(16)[number] for number, name in enumerate("ABCDEFGH")}
    rows = [directions[name] + random.normal(0, spread, 16) for name in names for _ in range(each)]
    vectors = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    ids = tuple(str(number) for number in range(len(rows)))
    identities = tuple(name for name in names for _ in range(each))
    indices = np.zeros(len(ids), np.int32)
    return Faces(ids, identities, vectors.astype(np.float32), "m" * 16, indices)


@pytest.mark.parametrize("method", METHODS)
def test_known_people_are_named_and_strangers_unknown(method):
    recorded, settings = people("ABCD"), ClassifierSettings(method, max_distance=0.9)
    classifier = FaceClassifier(recorded.vectors, recorded.identities, settings)
    fresh = people("ABCD", seed=1)
    assert tuple(classifier.predict(fresh.vectors).limited(settings)) == fresh.identities
    strangers = classifier.predict(people("EF", seed=2).vectors)
    assert set(strangers.limited(settings)) == {UNKNOWN}
    assert set(strangers.nearest) <= set("ABCD")


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_classifier_gives_the_same_answers(method, tmp_path):
    recorded, uri = people("ABC"), str(tmp_path / "c.parquet")
    classifier = FaceClassifier(recorded.vectors, recorded.identities, ClassifierSettings(method))
    classifier.save(uri)
    loaded = FaceClassifier.load(uri)
    assert loaded.settings == classifier.settings
    asked = people("ABCDE", seed=3).vectors
    for a, b in zip(
        vars(classifier.predict(asked)).values(), vars(loaded.predict(asked)).values(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_the_line_to_strangers_is_found_by_cross_validation():
    faces = people("ABCDEFGH")
    validation = cross_validate(faces, ClassifierSettings("knn"))
    limit = validation.best_distance()
    report = validation.report(ClassifierSettings("knn", max_distance=limit))
    assert report["accuracy"] == 1
    assert report["strangers_rejected"] == 1
    assert report["people"]["A"] == [6, 6]
    without = validation.report(ClassifierSettings("knn"))
    assert without["strangers_rejected"] == 0


def test_improbable_answers_are_unknown():
    recorded, settings = people("AB", spread=1.0), ClassifierSettings("knn", min_probability=0.9)
    classifier = FaceClassifier(recorded.vectors, recorded.identities, settings)
    result = classifier.predict(people("AB", seed=5, spread=1.0).vectors)
    assert list(result.limited(settings) == UNKNOWN) == list(result.probabilities < 0.9)


def test_people_with_few_faces_are_left_out():
    faces = Faces(tuple("123"), ("A", "A", "B"), np.eye(3, dtype=np.float32), "", np.zeros(3, int))
    rows, left_out = choose_examples(faces, 2)
    assert (rows.tolist(), left_out) == ([0, 1], ["B"])


@pytest.mark.parametrize(
    ("names", "method", "message"),
    [("AA", "knn", "two people or more"), ("AAB", "svm", "two faces or more.*of B there is one")],
)
def test_too_few_examples_are_an_error(names, method, message):
    with pytest.raises(ConfigError, match=message):
        FaceClassifier(np.eye(len(names)), list(names), ClassifierSettings(method))


def test_photographs_without_names_are_an_error():
    with pytest.raises(ConfigError, match="are of nobody"):
        choose_examples(Faces(("1",), ("",), np.eye(1), "", np.zeros(1, int)), 1)


def test_a_file_that_is_no_classifier_is_an_error(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(ArtifactError, match="not a classifier"):
        FaceClassifier.load(str(tmp_path / "x.parquet"))
    with pytest.raises(ArtifactError, match="no such classifier"):
        FaceClassifier.load(str(tmp_path / "gone.parquet"))


def test_each_face_of_a_group_is_named(photographs, files, model, tmp_path, capsys):
    group = str(tmp_path / "group.png")
    pictures = [np.asarray(Image.open(file)) for file in (files[0], files[5])]
    Image.fromarray(np.concatenate(pictures, axis=1)).save(group)
    options = ["--model", model, "--classifier", str(tmp_path / "classifier.parquet")]
    options += ["--storage", str(Path(model).parents[2])]
    train = ["classify", "train", str(photographs), "--method", "knn", "--neighbours", "1"]
    assert main([*train, "--max-distance", "2", *options]) == 0
    predict = ["classify", "predict", group, *options]
    assert main([*predict, "--detect-multiple-faces", "--json"]) == 0
    faces = json.loads(capsys.readouterr().out.splitlines()[-1])["faces"]
    assert [face["face_index"] for face in faces] == [0, 1]
    assert {face["name"] for face in faces} == {Path(files[n]).parent.name for n in (0, 5)}
    assert main([*predict, "--detect-multiple-faces"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"{group}, face 0",
        f"{group}, face 1",
    ]
    assert main([*predict, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["faces"]) == 1
