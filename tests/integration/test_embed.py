"""The embed stage on real Dask workers under a real Prefect server."""

from __future__ import annotations

from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.config import ClusterConfig, EmbedConfig
from facenet_core.storage import Artifact
from tests.support.embedding import embedded, rows


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
