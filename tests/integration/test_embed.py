"""The embed stage on real Dask workers under a real Prefect server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployments.local_site import Site
from facenet_core import storage
from facenet_core.config import AlignConfig, ClusterConfig, EmbedConfig, TrainConfig
from facenet_core.embedding.artifact import open_crops
from facenet_core.embedding.stage import plan_embed
from facenet_core.errors import ConfigError
from facenet_core.storage import Artifact, parquet
from tests.integration.test_operations import ended_task_runs, number, written
from tests.support.embedding import embedded, rows
from tests.support.photographs import jpeg, write_folder
from tests.support.raw_shards import face
from tests.support.tiny import TINY, facenet


@pytest.fixture(scope="module")
def crops(undisturbed: Path) -> Artifact:
    (uri,) = undisturbed.glob("crops/tiny-holdout/*")
    return storage.open_artifact(str(uri), "align")


@pytest.fixture(scope="module")
def model(undisturbed: Path) -> str:
    (uri,) = undisturbed.glob("models/tiny/*")
    return str(uri)


def test_workers_make_the_embeddings_that_one_process_makes(
    crops: Artifact, model: str, prefect_server: str, tmp_path: Path
) -> None:
    from flows.embed import embed

    where, root = ClusterConfig(workers=2), str(tmp_path / "store")
    summary = embed(crops.uri, model, EmbedConfig(), root, where)
    artifact = storage.open_artifact(summary.uri, "embed")
    alone = embedded(str(tmp_path / "alone"), crops.uri, model)
    assert artifact.parts == alone.parts
    assert len(rows(artifact)) == crops.counts["crops"] == summary.counts["embeddings"]
    assert embed(crops.uri, model, EmbedConfig(), root, where).seconds < summary.seconds


@pytest.mark.slow
def test_a_teacher_embeds_crops_like_its_own_whatever_is_trained_on(
    crops: Artifact, model: str, prefect_server: str, tmp_path: Path
) -> None:
    from flows.align import align
    from flows.train import train

    where, root = ClusterConfig(workers=1), str(tmp_path / "store")
    config = TrainConfig(
        teacher=model, loss="none", model_def="tests.support.small_crops:tiny", image_size=32,
        embedding_size=16, batch_size=6, max_nrof_epochs=1, epoch_size=2,
    )  # fmt: skip

    smaller = align(crops.inputs[0].uri, AlignConfig(image_size=40, margin=4), root, where)
    student = storage.open_artifact(train(smaller.uri, config, root, where).uri, "train")
    embeddings = storage.open_artifact(student.inputs[1].uri, "embed")
    assert open_crops(embeddings).fingerprint == crops.fingerprint


def test_what_cannot_be_trained_is_refused_before_a_teacher_embeds(
    crops: Artifact, model: str, prefect_server: str, tmp_path: Path
) -> None:
    from flows.train import train

    root = str(tmp_path / "store")
    with pytest.raises(ConfigError, match="no network `nonsense`"):
        train(crops.uri, TrainConfig(teacher=model, model_def="nonsense"), root)
    assert not storage.is_folder(f"{root}/embeddings")


def test_photographs_become_an_artifact_and_one_table(
    model: str, prefect_server: str, tmp_path: Path
) -> None:
    photographs = {f"Person_{n}/Person_{n}_0001.jpg": face(n) for n in range(3)}
    write_folder(tmp_path / "people", photographs | {"Z/grey.jpg": jpeg(1, 160)})
    table = tmp_path / "faces.parquet"
    status, output, errors = facenet(
        "embed", tmp_path / "people", "--model", model, "--storage", tmp_path / "store",
        "--workers", 1, "--output", table, "--json",
    )  # fmt: skip
    assert status == 0, errors
    printed = json.loads(output)
    artifact = storage.open_artifact(printed["uri"], "embed")
    assert open_crops(artifact).config["margin"] == TINY["align"]["margin"], "the model's own"
    assert printed["table"] == str(table)
    assert printed["counts"] == {"faces": 3, "aligned": 3, "rejects": 1, "rejects.no_face": 1}
    written_rows = parquet.read_table(str(table)).to_pylist()
    assert [row["image_id"] for row in written_rows] == sorted(photographs)
    assert [row["embedding"] for row in written_rows] == [
        row["embedding"] for row in rows(artifact)
    ]
    assert all(len(row["box"]) == 4 for row in written_rows)
    (reject,) = parquet.read_table(f"{tmp_path}/faces-rejects.parquet").to_pylist()
    assert reject["image_id"] == "Z/grey.jpg"


def test_retry_in_the_ui_does_exactly_the_failed_shard_again(
    crops: Artifact, model: str, site: Site, worker: object, tmp_path: Path
) -> None:
    root, shards = str(tmp_path / "store"), len(crops.part_uris("crops"))
    plan = plan_embed(root, crops, storage.open_artifact(model, "train"), EmbedConfig())
    in_the_way = Path(plan.uri) / "embeddings/part-00001.parquet"
    in_the_way.mkdir(parents=True)
    parameters = {"source": crops.uri, "model": model, "root": root, "where": {"workers": 1}}
    run = site.run("embed/embed", parameters)
    failed = site.wait(run)
    assert failed["state_type"] == "FAILED"
    message = failed["state"]["message"]
    assert f"embed: 1 of {shards} shards failed; the others are done and stay done" in message
    assert "- shard 2: " in message
    first = {each["id"] for each in ended_task_runs(site, run, shards)}
    before = written(plan.uri)
    in_the_way.rmdir()
    site.retry(run)
    retried = site.wait(run)
    assert retried["state_type"] == "COMPLETED", retried["state"]["message"]
    second = [each for each in ended_task_runs(site, run, 2 * shards) if each["id"] not in first]
    assert {number(each) for each in second if each["state_name"] != "Cached"} == {1}
    changed = {name for name, time in written(plan.uri).items() if before.get(name) != time}
    assert changed == {"embeddings/part-00001.parquet"}
    assert len(rows(storage.open_artifact(plan.uri, "embed"))) == crops.counts["crops"]
