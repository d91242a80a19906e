"""Keys of an object store are used, and then are nowhere to be found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import fsspec
import pytest
from local_site import Site
from photographs import files, write_folder
from tiny import facenet

SECRET = "unmistakable-secret-0123456789"


def everything_in(uri: str) -> bytes:
    """All objects of a bucket, one after the other."""
    fs, path = fsspec.core.url_to_fs(uri)
    return b"".join(fs.cat_file(found) for found in fs.find(path))


def everything_recorded(home: Path) -> str:
    """All tables of the Prefect server's database, as text: its pages may be in a journal."""
    with sqlite3.connect(f"file:{home / 'prefect.db'}?mode=ro", uri=True) as database:
        return "\n".join(database.iterdump())


def test_the_secret_of_a_bucket_is_neither_stored_nor_logged_nor_recorded(
    bucket: str, server: Site, tmp_path: Path
) -> None:
    photographs = write_folder(tmp_path / "faces", files())
    words = ["ingest", photographs, "--name", "faces", "--storage", bucket, "--verbose"]
    keys = {"AWS_ACCESS_KEY_ID": "the-key", "AWS_SECRET_ACCESS_KEY": SECRET}
    status, output, errors = facenet(*words, **keys)
    assert status == 0, errors
    assert SECRET not in output + errors
    stored = everything_in(bucket)
    assert b"manifest" in stored or b"fingerprint" in stored
    assert SECRET.encode() not in stored
    recorded = everything_recorded(server.home)
    assert bucket in recorded  # the run is there
    assert SECRET not in recorded


@pytest.mark.parametrize("command", [["ingest"], ["align"], ["inspect"], ["storage", "ls"]])
def test_keys_in_a_uri_are_refused_before_anything_records_them(
    command: list[str], tmp_path: Path
) -> None:
    from flows.cli import main

    status = main([*command, f"s3://the-key:{SECRET}@bucket/faces", "--storage", str(tmp_path)])
    assert status == 2


def test_the_refusal_does_not_repeat_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli import main

    assert main(["ingest", f"s3://the-key:{SECRET}@bucket/faces"]) == 2
    said = capsys.readouterr()
    assert "credentials" in said.err
    assert SECRET not in said.out + said.err
