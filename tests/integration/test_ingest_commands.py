"""`facenet ingest`, `datasets` and `inspect` as their user meets them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from PIL import Image

from facenet_core import storage
from facenet_core.fetch.download import fetch
from facenet_core.fetch.wanted import Wanted
from flows.cli.main import main
from tasks.ingest import Stopped, Transfers
from tests.support.photographs import files, write_folder, write_tar
from tests.support.scripted_server import Served, serving


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


@pytest.fixture
def store(tmp_path: Path, prefect_server: str) -> Path:
    return tmp_path / "store"


def test_a_data_set_by_its_name_from_its_mirror(capsys, store: Path, tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "faces.tgz", files()).read_bytes()
    with serving(Served(b"", status=404)) as broken, serving(Served(archive)) as mirror:
        urls = [f"{broken.url}badges.tgz", f"{mirror.url}badges.tgz"]
        sha256 = storage.sha256(str(tmp_path / "faces.tgz"))
        entry = {
            "title": "Our badges",
            "archive": {"name": "badges.tgz", "urls": urls, "sha256": sha256},
            "files": [{"name": "pairs.txt", "urls": urls}],
        }
        own = tmp_path / "own.yaml"
        own.write_text(yaml.safe_dump({"badges": entry}))
        status, out, err = run(
            capsys, "ingest", "badges", "--catalogue", own, "--storage", store, "--json"
        )
        assert status == 0, err
        asked = len(mirror.requests)
    made = json.loads(out)
    assert made["counts"]["images"] == 6
    assert (store / "downloads" / "badges" / "pairs.txt").read_bytes() == archive
    assert asked == 2
    status, out, _ = run(capsys, "datasets", "--catalogue", own, "--json")
    assert json.loads(out)["badges"]["title"] == "Our badges"


def test_credentials_of_an_address_stay_out_of_prefect(capsys, store: Path, tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "faces.tgz", files()).read_bytes()
    with serving(Served(archive), Served(b"", status=403)) as server:
        host = server.url.removeprefix("http://")
        secret = f"http://ann:s3cr3t-word@{host}faces.tgz?X-Amz-Signature=5ec4e7f00d"
        options = ("--storage", store, "--no-keep-download")
        status, _, errors = run(capsys, "ingest", secret, *options)
        assert status == 0, errors
        status, _, refused = run(capsys, "align", secret, "--storage", store)
        assert status == 1
        assert "403" in refused
    assert "s3cr3t" not in errors + refused
    assert not [path for path in (store / "downloads").rglob("*") if path.is_file()]
    folders = [Path(os.environ["PREFECT_HOME"]), store]
    written = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("prefect.db") for path in written)
    for path in written:
        data = path.read_bytes()
        assert b"s3cr3t-word" not in data, path
        assert b"5ec4e7f00d" not in data, path


def test_downloads_of_a_run_that_was_stopped_end(tmp_path: Path) -> None:
    transfers = Transfers(lambda *figures: None)
    target = tmp_path / "downloads" / "faces.tgz"

    def stop_in_the_middle(done: int, total: int | None) -> None:
        if done > 1_000_000:
            transfers.stop()
        report(done, total)

    with serving(Served(bytes(3_000_000))) as server, pytest.raises(Stopped):
        wanted = Wanted(str(target), (server.url,))
        report = transfers.of(wanted)
        fetch(wanted, stop_in_the_middle, sleep=transfers.sleep)
    assert not target.exists()
    assert target.with_name(".faces.tgz.part").exists()
    with pytest.raises(Stopped):
        transfers.sleep(60)


def test_inspect_shows_an_artifact(capsys, store: Path, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "faces", {**files(), "Ann/notes.txt": b"x"})
    status, out, err = run(capsys, "ingest", source, "--storage", store)
    assert status == 0, err
    uri = out.splitlines()[-1]
    sheet = tmp_path / "sheet.png"
    status, out, err = run(capsys, "inspect", uri, "--samples", sheet)
    assert status == 0, err
    assert out.splitlines()[-1] == uri
    assert "3 people, 6 images" in out
    assert "skipped.not_an_image" in out
    with Image.open(sheet) as picture:
        assert picture.width > 100
    status, out, _ = run(capsys, "inspect", uri, "--json", "--no-samples")
    assert json.loads(out)["people"]["identities"] == 3
