"""Who is it? The nearest faces of a table."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.embedding import artifact
from facenet_core.errors import ArtifactError, ConfigError
from facenet_core.recognition import gallery, tables
from facenet_core.recognition.photographs import read_rows
from facenet_core.recognition.stream import embed_rows
from facenet_core.storage import Input, Outcome, parquet, schemas
from flows.cli.main import main

MODEL = "a" * 16


def vectors(count: int, dimensions: int = 8, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def table_of(rows: np.ndarray, model: str = MODEL) -> pa.Table:
    names = [f"P{number % 7}/{number}.jpg" for number in range(len(rows))]
    people = [name.split("/")[0] for name in names]
    schema = artifact.naming_model(schemas.crop_embeddings(rows.shape[1]), model, "m")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    numbers = np.arange(len(rows), dtype=np.int32)
    columns = [names, people, numbers, np.ones(len(rows), np.float32), lists]
    return pa.table(columns, schema=schema)


@pytest.fixture
def table(tmp_path: Path) -> str:
    uri = str(tmp_path / "faces.parquet")
    pq.write_table(table_of(vectors(50)), uri)
    return uri


def test_the_nearest_faces_are_those_of_brute_force(table: str) -> None:
    asked = vectors(4, seed=1)
    distances = np.linalg.norm(asked[:, None] - vectors(50)[None], axis=2)
    for matches, row in zip(gallery.open_gallery(table).nearest(asked, 5), distances, strict=True):
        order = np.argsort(row)[:5]
        assert [match.face_index for match in matches] == order.tolist()
        assert [match.image_id for match in matches] == [f"P{n % 7}/{n}.jpg" for n in order]
        assert [match.identity for match in matches] == [f"P{n % 7}" for n in order]
        np.testing.assert_allclose([match.distance for match in matches], row[order], atol=1e-6)


def indices(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.faiss"))


def test_the_index_beside_a_table_is_used_until_the_table_changes(table: str) -> None:
    first = gallery.open_gallery(table)
    (file,) = indices(os.path.dirname(table))
    made = file.stat().st_mtime_ns
    gallery.open_gallery(table)
    assert file.stat().st_mtime_ns == made
    pq.write_table(table_of(vectors(60, seed=3)), table)
    second = gallery.open_gallery(table)
    assert (first.index.ntotal, second.index.ntotal) == (50, 60)
    (other,) = indices(os.path.dirname(table))
    assert other != file
    other.write_bytes(other.read_bytes()[:100])
    assert gallery.open_gallery(table).index.ntotal == 60
    assert gallery.open_gallery(table).nearest(vectors(1), 99)[0][59].distance <= 2


def test_an_artifact_is_searched_over_all_its_parts_and_stays_as_it_is(root: str) -> None:
    inputs = [Input("crops", "c" * 16), Input("model", MODEL)]
    plan = storage.plan_stage(root, "embed", "people", {}, inputs, 1)
    rows, parts = vectors(40), []
    for number, some in enumerate((rows[:25], rows[25:])):
        name = f"{artifact.FOLDER}/{parquet.part_name(number)}"
        parquet.write_table(storage.join(plan.uri, name), table_of(some), plan.fingerprint)
        parts.append(parquet.describe_part(plan.uri, name))
    storage.publish(plan, Outcome(parts, {"crops": 40, "embeddings": 40}, {}), {})
    before = sorted(Path(plan.uri).rglob("*"))
    people = gallery.open_gallery(plan.uri)
    [[match]] = people.nearest(rows[30:31], 1)
    assert match.face_index == 5
    assert match.distance < 1e-6
    assert people.model == MODEL
    assert sorted(Path(plan.uri).rglob("*")) == before
    assert gallery.model_of(plan.uri, root) == "model"


def test_what_is_no_table_of_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such table"):
        gallery.open_gallery(str(tmp_path / "nowhere.parquet"))
    other = str(tmp_path / "other.parquet")
    pq.write_table(pa.table({"image_id": ["a"]}), other)
    with pytest.raises(ArtifactError, match="no column embedding, identity"):
        gallery.open_gallery(other)
    pq.write_table(table_of(vectors(0)), other)
    with pytest.raises(ArtifactError, match="no faces in it"):
        gallery.open_gallery(other)


@pytest.fixture
def embedded(embedder, photographs, tmp_path, root) -> str:
    """A table of the photographs' faces."""
    uri = str(tmp_path / "all.parquet")
    faces = embed_rows(read_rows([str(photographs)], root), embedder)
    tables.write(uri, faces, embedder.face_model.fingerprint)
    return uri


def test_a_photograph_is_found_among_the_faces_of_a_folder(
    embedded, files, model, tmp_path, capsys
) -> None:
    table, picture = embedded, tmp_path / "all.png"
    root = str(Path(model).parents[2])
    words = ["find", files[4], "--in", table, "--storage", root, "--picture", str(picture)]
    assert main([*words, "--json"]) == 0
    [face] = json.loads(capsys.readouterr().out)["faces"]
    nearest = face["matches"][0]
    assert files[4].endswith(nearest["image_id"])
    assert nearest["distance"] < 1e-2  # half precision rounds otherwise in a batch of another size
    assert nearest["same"] is True
    assert len(face["matches"]) == 5
    with Image.open(picture) as image:
        assert image.width > image.height
    assert main(words) == 0
    assert "same person" in capsys.readouterr().out


def test_every_face_of_a_group_is_found(embedder, files, embedded) -> None:
    pictures = [np.asarray(Image.open(file)) for file in (files[0], files[5])]
    group = np.concatenate(pictures, axis=1)
    faces = embedder.find(group, embedded, count=1)
    people = [Path(files[number]).parent.name for number in (0, 5)]
    by_place = sorted(faces, key=lambda pair: float(pair[0].box[0]))
    assert [matches[0].identity for _, matches in by_place] == people


def test_another_model_than_the_tables_is_refused(embedder, files, table, root) -> None:
    with pytest.raises(ConfigError, match=f"embedded with the model {MODEL}"):
        embedder.find(files[0], table)
    with pytest.raises(ConfigError, match="name it with --model"):
        gallery.model_of(table, root)
