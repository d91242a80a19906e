"""A storage root with photographs and crops of four people, made once and copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest

from facenet_core import storage
from tests.support.stored import Site, aligned, ingested, write_archive


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    archive = write_archive(folder / "people.tar")
    root = str(folder / "store")
    raw = ingested(root, archive)
    return Site(root, archive, raw, aligned(root, raw))


@pytest.fixture
def site(_made: Site, tmp_path: Path) -> Site:
    """A root of one's own, on local storage."""
    root = str(tmp_path / "store")
    shutil.copytree(_made.root, root)
    return _moved(_made, root)


@pytest.fixture(params=["local", "s3"])
def anywhere(request: pytest.FixtureRequest, _made: Site, tmp_path: Path) -> Site:
    """A root of one's own, on local storage and on an S3 server."""
    if request.param == "local":
        return request.getfixturevalue("site")
    bucket = request.getfixturevalue("bucket")
    fsspec.filesystem("s3").put(f"{_made.root}/", f"{bucket}/store/", recursive=True)
    return _moved(_made, f"{bucket}/store")


def _moved(made: Site, root: str) -> Site:
    """The same, in a copy of the root: crops say where their photographs lay, so lineage goes by
    fingerprint."""
    raw, crops = (uri.replace(made.root, root) for uri in (made.raw, made.crops))
    assert storage.read_manifest(crops) is not None
    return Site(root, made.archive, raw, crops)
