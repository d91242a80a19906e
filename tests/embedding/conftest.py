"""Crops of a few people in two shards, and a network that was never trained."""

from __future__ import annotations

import pytest

from tests.support.small_artifacts import IMAGES, PEOPLE, crop, publish_crops, publish_model


@pytest.fixture(scope="session")
def embedding_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("embedding"))


@pytest.fixture(scope="session")
def crops_uri(embedding_root: str) -> str:
    rows = [crop(person, image) for person in range(PEOPLE) for image in range(1, IMAGES + 1)]
    rows.insert(1, crop(0, 1, face=1))
    rows.insert(2, crop(0, 1, face=2) | {"score": None})
    return publish_crops(embedding_root, [rows[:30], rows[30:]], [])


@pytest.fixture(scope="session")
def model_uri(embedding_root: str) -> str:
    return publish_model(embedding_root, "linear")
