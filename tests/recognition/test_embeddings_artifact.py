"""Artifacts of embeddings where tables are taken, and as one table."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from facenet_core.embedding.artifact import model_of, open_crops
from facenet_core.embedding.crops import decode, read_faces
from facenet_core.recognition import pictures, tables
from facenet_core.recognition.gallery import Match
from facenet_core.storage import Artifact, parquet
from tests.support.embedding import embedded, rows
from tests.support.small_artifacts import crop, image_id, publish_crops, publish_model

REJECT = {"image_id": "Z/grey.jpg", "identity": "Z", "reason": "no_face", "detail": "none"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    root = str(tmp_path_factory.mktemp("store"))
    first = [crop(0, 1), crop(0, 1, face=1), crop(0, 2)]
    crops = publish_crops(root, [first, [], [crop(1, 1) | {"box": [1.0, 2.0, 3.0, 4.0]}]], [REJECT])
    return embedded(root, crops, publish_model(root, "linear"))


@pytest.mark.parametrize("every_face", [True, False])
def test_an_artifact_is_read_as_a_table_is(artifact: Artifact, every_face: bool) -> None:
    assert tables.is_table(artifact.uri)
    faces = tables.read(artifact.uri, every_face=every_face)
    expected = [row for row in rows(artifact) if every_face or row["face_index"] == 0]
    assert faces.image_ids == tuple(row["image_id"] for row in expected)
    assert faces.model == model_of(artifact).fingerprint
    vectors = np.array([row["embedding"] for row in expected], np.float32)
    np.testing.assert_allclose(faces.vectors, vectors, rtol=1e-6)


def test_it_becomes_one_table_with_boxes_and_the_rejects_of_its_crops(
    artifact: Artifact, tmp_path: object
) -> None:
    uri = f"{tmp_path}/faces.parquet"
    counts = tables.write_rows(uri, tables.rows_of(artifact), model_of(artifact).fingerprint)
    assert counts == {"faces": 4, "aligned": 3, "rejects": 1, "rejects.no_face": 1}
    table = parquet.read_table(uri)
    assert table.column_names == tables.FACES.names
    assert table["image_id"].to_pylist() == [*[image_id(0, 1)] * 2, image_id(0, 2), image_id(1, 1)]
    assert table["box"].to_pylist()[-1] == [1.0, 2.0, 3.0, 4.0]
    embeddings = [row["embedding"] for row in rows(artifact)]
    assert table["embedding"].to_pylist() == embeddings
    assert tables.read(uri).model == tables.read(artifact.uri).model
    assert parquet.read_table(tables.rejects_of(uri)).to_pylist() == [REJECT]


def test_the_crops_of_a_few_faces_are_read_by_image_and_face(artifact: Artifact) -> None:
    crops = open_crops(artifact)
    wanted = {(image_id(0, 1), 1), (image_id(1, 1), 0), ("gone.jpg", 0)}
    faces = read_faces(crops, wanted)
    assert faces.keys() == wanted - {("gone.jpg", 0)}
    for row in rows(crops, "crops"):
        if (face := (row["image_id"], row["face_index"])) in wanted:
            pixels = decode(row["image_id"], row["image"]["bytes"])
            np.testing.assert_array_equal(faces[face], pixels)


def test_a_picture_of_matches_shows_their_crops_where_there_are_any() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    near = [Match("A", "a.jpg", 0, 0.5, same=True), Match("B", "b.jpg", 1, 1.5, same=False)]
    picture = pictures.matches([(grey, near)], {("b.jpg", 1): grey + 50})
    with Image.open(io.BytesIO(picture)) as image:
        middles = [image.getpixel((6 + 118 * column + 56, 6 + 56)) for column in range(3)]
    assert middles == [(100, 100, 100), (0xD5, 0xEC, 0xD4), (150, 150, 150)]
