"""Crops become embeddings: each one, once, in its order, and what cannot be embedded is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from facenet_core import storage
from facenet_core.config import EmbedConfig
from facenet_core.embedding import stage
from facenet_core.embedding.crops import decode
from facenet_core.errors import AccountingError, ArtifactError
from facenet_core.models.face_model import FaceModel
from facenet_core.privacy import deny_list
from facenet_core.storage import parquet
from tests.support.embedding import embedded, rows
from tests.support.small_artifacts import (
    DIMENSIONS,
    crop,
    image_id,
    publish_crops,
    publish_model,
)


@pytest.mark.parametrize("config", [{}, {"engine": "keras"}, {"use_flipped_images": True}])
def test_every_crop_has_its_embedding_in_the_part_of_its_own_part(
    crops_uri: str, model_uri: str, root: str, config: dict[str, Any]
) -> None:
    crops = storage.open_artifact(crops_uri, "align")
    artifact = embedded(root, crops_uri, model_uri, **config)
    model = FaceModel.load(model_uri)
    names = ["image_id", "identity", "face_index", "score"]
    uris = zip(crops.part_uris("crops"), artifact.part_uris("embeddings"), strict=True)
    for crops_part, part in uris:
        made, expected = parquet.read_table(part), parquet.read_table(crops_part)
        assert made.select(names) == expected.select(names)
        images = [decode("", image["bytes"]) for image in expected["image"].to_pylist()]
        vectors = np.array(made["embedding"].to_pylist(), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(vectors, model.embed(np.stack(images)), atol=1e-2)
        if "use_flipped_images" in config:
            flipped = np.array(made["embedding_flipped"].to_pylist(), np.float32)
            mirrored = model.embed(np.stack(images)[:, :, ::-1])
            np.testing.assert_allclose(flipped, mirrored, atol=1e-3)
            assert not np.allclose(flipped, vectors, atol=1e-2)
        else:
            assert "embedding_flipped" not in made.column_names
    assert artifact.counts == {"crops": 74, "embeddings": 74}


def test_the_footer_names_model_and_size(crops_uri: str, model_uri: str, root: str) -> None:
    artifact = embedded(root, crops_uri, model_uri)
    schema = pq.read_schema(artifact.part_uris("embeddings")[0])
    fingerprint = model_uri.rsplit("/", 1)[-1]
    assert schema.metadata[b"facenet:model"].decode() == fingerprint
    assert schema.metadata[b"facenet:model_name"] == b"linear"
    assert schema.field("embedding").type.list_size == DIMENSIONS
    assert [source.uri for source in artifact.inputs] == [crops_uri, model_uri]


def test_parts_that_are_there_are_kept_and_missing_ones_made_the_same_again(
    crops_uri: str, model_uri: str, root: str
) -> None:
    artifact = embedded(root, crops_uri, model_uri)
    first, second = map(Path, artifact.part_uris("embeddings"))
    before, content = first.stat().st_mtime_ns, second.read_bytes()
    os.unlink(second)
    os.unlink(artifact.file_uri(storage.MANIFEST))
    assert embedded(root, crops_uri, model_uri).parts == artifact.parts
    assert first.stat().st_mtime_ns == before
    assert second.read_bytes() == content


def test_a_crop_that_cannot_be_decoded_is_named(model_uri: str, root: str) -> None:
    broken = crop(0, 2)
    broken["image"]["bytes"] = broken["image"]["bytes"][:60]
    crops = publish_crops(root, [[crop(0, 1), broken]], [])
    with pytest.raises(ArtifactError, match=r"Person_0_0002.jpg: its crop cannot be decoded"):
        embedded(root, crops, model_uri)
    assert not list(Path(root).glob("embeddings/**/*.parquet"))


def test_an_embedding_that_is_not_finite_is_an_error_that_names_the_image(
    model_uri: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(model: FaceModel, images: np.ndarray) -> np.ndarray:
        vectors = np.ones((len(images), DIMENSIONS), np.float32)
        vectors[1] = np.nan
        return vectors

    stage._open.cache_clear()
    monkeypatch.setattr(FaceModel, "embed", diverged)
    crops = publish_crops(root, [[crop(0, 1), crop(0, 2)]], [])
    with pytest.raises(ArtifactError, match=r"no finite embedding for .*0002.jpg"):
        embedded(root, crops, model_uri, engine="keras")
    stage._open.cache_clear()


def test_a_part_without_faces_is_embedded_too(model_uri: str, root: str) -> None:
    crops = publish_crops(root, [[], [crop(0, 1)]], [])
    artifact = embedded(root, crops, model_uri)
    assert [part.rows for part in artifact.parts] == [0, 1]


def test_a_lost_row_is_noticed(crops_uri: str, model_uri: str, root: str) -> None:
    crops = storage.open_artifact(crops_uri, "align")
    plan = stage.plan_embed(root, crops, storage.open_artifact(model_uri, "train"), EmbedConfig())
    part = crops.part_uris("crops")[0]
    summary = stage.embed_shard(plan, part, 0, EmbedConfig())
    with pytest.raises(AccountingError, match="74 crops went in, 30 embeddings came out"):
        stage.finish(plan, crops, [summary], {})


def test_people_who_were_forgotten_are_left_out_and_counted(model_uri: str, root: str) -> None:
    crops = publish_crops(root, [[crop(0, 1), crop(1, 1)], [crop(0, 2)]], [])
    before = embedded(root, crops, model_uri)
    deny_list.write(root, deny_list.read(root).with_person("Person_0"))
    after = embedded(root, crops, model_uri)
    assert after.fingerprint != before.fingerprint
    assert [row["image_id"] for row in rows(after)] == [image_id(1, 1)]
    assert after.counts == {"crops": 1, "embeddings": 1, "redacted": 2}


def test_a_model_is_opened_once_in_a_process(
    crops_uri: str, model_uri: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    original = FaceModel.from_artifact.__func__

    def counting(cls: type[FaceModel], artifact: storage.Artifact) -> FaceModel:
        opened.append(artifact.uri)
        return original(cls, artifact)

    stage._open.cache_clear()
    crops = storage.open_artifact(crops_uri, "align")
    plan = stage.plan_embed(root, crops, storage.open_artifact(model_uri, "train"), EmbedConfig())
    monkeypatch.setattr(FaceModel, "from_artifact", classmethod(counting))
    for number, part in enumerate(crops.part_uris("crops")):
        stage.embed_shard(plan, part, number, EmbedConfig())
    assert opened == [model_uri]


def test_the_model_has_to_be_the_one_that_was_planned(crops_uri: str, root: str) -> None:
    model = publish_model(root, "linear")
    crops = storage.open_artifact(crops_uri, "align")
    plan = stage.plan_embed(root, crops, storage.open_artifact(model, "train"), EmbedConfig())
    other = publish_model(root, "linear", bias=0.4)
    for name in (storage.MANIFEST, "model.keras", "history.parquet"):
        os.replace(f"{other}/{name}", f"{model}/{name}")
    with pytest.raises(ArtifactError, match="another model than when this run began"):
        stage.embed_shard(plan, crops.part_uris("crops")[0], 0, EmbedConfig())
