"""Lists whose pictures lie on the web: what is not there is skipped, what cannot be said is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from facenet_core.errors import StorageError
from facenet_core.storage import retrying
from tests.support.ingesting import contents, manifests, run, skipped
from tests.support.photographs import jpeg
from tests.support.scripted_server import Served, serving

PICTURE = jpeg(1)
BUSY = Served(b"", status=503)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)


def listed(folder: Path, *addresses: str) -> Path:
    """A list of these, all of one person."""
    file = folder / "faces.csv"
    file.write_text("path,identity\n" + "".join(f"{address},Ann\n" for address in addresses))
    return file


def test_a_picture_whose_server_is_busy_for_a_while_is_taken(root: str, tmp_path: Path) -> None:
    with serving(BUSY, BUSY, Served(PICTURE), BUSY, BUSY, Served(PICTURE)) as script:
        artifact = run(root, listed(tmp_path, f"{script.url}a.jpg"))
    assert list(contents(artifact).values()) == [PICTURE]
    assert skipped(artifact) == {}


def test_nothing_is_finished_while_a_server_is_busy(root: str, tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(PICTURE)
    with serving(BUSY) as script, pytest.raises(StorageError, match=r"faces\.csv: .*503") as caught:
        run(root, listed(tmp_path, "b.jpg", f"{script.url}a.jpg"))
    assert caught.value.retryable
    assert manifests(root) == []


def test_a_picture_that_is_gone_is_skipped_as_missing(root: str, tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(PICTURE)
    with serving(Served(b"", status=410)) as script:
        artifact = run(root, listed(tmp_path, "b.jpg", f"{script.url}a.jpg"))
    assert list(skipped(artifact).values()) == ["missing"]


def test_chained_addresses_in_a_list_are_refused(root: str, tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(PICTURE)
    address = f"simplecache::file://{tmp_path}/b.jpg"
    with pytest.raises(StorageError, match="chains file systems"):
        run(root, listed(tmp_path, address))
