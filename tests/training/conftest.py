"""Fixtures of the training tests."""

import pytest

from tests.support.small_crops import write_crops


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("training") / "store")


@pytest.fixture(scope="session")
def crops_uri(store: str) -> str:
    """Crops of 36 pixels: 8 images each of Ann, Bob and Cy, 2 of Di."""
    return write_crops(store, {"Cy": 8, "Ann": 8, "Bob": 8, "Di": 2})
