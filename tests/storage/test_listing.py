"""Listings and removals of a disturbed object store: whole, or an error; never short."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import pytest

from facenet_core import storage
from facenet_core.config import IngestConfig
from facenet_core.datasets.sources.recognise import recognise
from facenet_core.errors import StorageError
from facenet_core.housekeeping import objects
from facenet_core.storage import clients, retrying
from qa.faults.proxy import FaultyProxy, Weather

FAULTS = ("500", "503", "slow down", "cut body", "reset", "lost answer")
NAMES = [f"person-{n % 7}/{n:04d}.jpg" for n in range(50)]
A_PAGE = 20  # of a listing: three answers of the server


class Once(Weather):
    """So many requests are disturbed, after the first ones, and the others are not."""

    kind = ""
    left = 0
    after = 0

    def of(self, method: str, path: str) -> str | None:
        if self.after or not self.left or (self.kind == "cut body" and method != "GET"):
            self.after = max(0, self.after - 1)
            return None
        self.left -= 1
        return self.kind


@pytest.fixture(scope="module")
def filled(s3_server: str) -> str:
    """Name of a bucket with small photographs under `faces`."""
    bucket = f"listed-{uuid.uuid4().hex}"
    s3 = fsspec.filesystem("s3")
    s3.mkdir(bucket)
    s3.pipe({f"{bucket}/faces/{name}": b"x" for name in NAMES})
    return bucket


@pytest.fixture(scope="module")
def proxy(s3_server: str) -> Iterator[FaultyProxy]:
    """In front of the server; the environment leads through it, to a client that tries once."""
    address = urlsplit(s3_server)
    results = FaultyProxy((str(address.hostname), int(address.port or 0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", results.endpoint)
        patch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", str(A_PAGE))
        patch.setattr(clients, "REQUEST_TRIES", 1)  # it would wait for seconds
        patch.setattr(retrying, "FIRST_WAIT", 0.0)
        yield results
    results.stop()


@pytest.fixture
def weather(filled: str, proxy: FaultyProxy) -> Callable[..., Once]:
    """Makes weather for a bucket."""

    def make(kind: str, requests: int, bucket: str = filled, after: int = 0) -> Once:
        made = Once()
        made.kind, made.left, made.after = kind, requests, after
        proxy.set_weather(bucket, made)
        return made

    return make


def photographs(uri: str) -> list[str]:
    return sorted(recognise(uri, IngestConfig(source=uri))._files())  # type: ignore[attr-defined]


LISTINGS: dict[str, Callable[[str], list[str]]] = {
    "storage": lambda uri: sorted(storage.find_files(uri)),
    "housekeeping": lambda uri: sorted(found.name for found in objects.below(uri)),
    "ingest": photographs,
}


@pytest.mark.parametrize("page", [0, 1, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_disturbed_listing_is_complete(
    filled: str, weather: Callable[..., Once], fault: str, page: int
) -> None:
    made = weather(fault, 1, after=page)
    assert LISTINGS["housekeeping"](f"s3://{filled}/faces") == sorted(NAMES)
    assert made.injected == {fault: 1}


@pytest.mark.parametrize("fault", ["cut body", "reset"])
@pytest.mark.parametrize("listing", LISTINGS)
def test_a_listing_that_stays_disturbed_is_an_error(
    filled: str, weather: Callable[..., Once], fault: str, listing: str
) -> None:
    weather(fault, 999, after=1 if listing == "storage" else 0)
    with pytest.raises(StorageError, match=f"s3://{filled}/faces: cannot be"):
        LISTINGS[listing](f"s3://{filled}/faces")


def test_a_bucket_that_does_not_answer_is_not_taken_for_empty(
    filled: str, weather: Callable[..., Once]
) -> None:
    weather("denied", 999)
    for question in (storage.exists, storage.file_sizes, storage.is_folder, storage.entries):
        with pytest.raises(StorageError):
            question(f"s3://{filled}")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disturbed_removal_removes_everything(
    bucket: str, weather: Callable[..., Once], fault: str
) -> None:
    root = f"{bucket}/store"
    for name in ("manifest.json", "crops/part-00000.parquet", "crops/part-00001.parquet"):
        storage.write_bytes(storage.join(root, name), b"x")
    weather(fault, 2, bucket.removeprefix("s3://"))
    objects.remove_folder(root)
    assert storage.file_sizes(root) == {}


def test_a_local_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed/part").write_bytes(b"x")
    assert storage.file_sizes(str(tmp_path)) == {"closed/part": 1}
    scandir = os.scandir

    def closed(place: str) -> object:  # as for anybody but root, who may list everything
        if str(place).endswith("/closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", closed)
    for look in (storage.file_sizes, lambda uri: list(objects.below(uri))):
        with pytest.raises(StorageError, match="cannot be listed: Permission denied"):
            look(str(tmp_path))
