from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.alignment import isolation
from facenet_core.alignment.isolation import IsolationFailed, find_crashing
from facenet_core.config import AlignConfig
from tests.support.poison import CRASH, HANG, install
from tests.support.raw_shards import aligned, face, raw_artifact, rows

SOUND = {f"P{n}/P{n}_0001.jpg": face(n) for n in range(4)}
POISONED = {
    "P0/first of all.jpg": face(0) + CRASH,
    **SOUND,
    "P1/not an image.jpg": b"text",
    "P1/hangs\nwith a newline.jpg": face(1) + HANG,
    "P2/last.jpg": face(2) + CRASH,
}


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of this test have a decoder with bugs; the test's own process has not."""
    monkeypatch.syspath_prepend(install(tmp_path / "bugs"))


def test_each_image_that_kills_or_hangs_becomes_a_reject_and_the_others_come_out_as_ever(
    poison: None, root: str
) -> None:
    config = AlignConfig(progress_timeout=1)
    raw = raw_artifact(root, [POISONED])
    uri, manifest = aligned(root, raw, config, isolate=True)
    assert manifest.counts["rejects.crashed"] == 3
    assert manifest.counts["rejects.undecodable"] == 1
    fates = {row["image_id"]: row["detail"] for row in rows(uri, "rejects")}
    assert fates == {
        "P0/first of all.jpg": "killed the process that worked on it: SIGSEGV",
        "P1/not an image.jpg": "not an image in a known format",
        "P1/hangs\nwith a newline.jpg": "hung the process that worked on it",
        "P2/last.jpg": "killed the process that worked on it: SIGSEGV",
    }
    undisturbed, _ = aligned(root, raw_artifact(root, [SOUND]), config)
    assert rows(uri, "crops") == rows(undisturbed, "crops")


def test_a_process_that_was_killed_once_does_not_make_its_image_a_reject(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = raw_artifact(root, [SOUND])
    run = subprocess.run
    runs = []

    def killed_the_first_time(*arguments, **options):
        done = run(*arguments, **options)
        runs.append(done)
        if len(runs) == 1:  # as the kernel does when memory runs out
            done.stdout, done.returncode = "\n".join(done.stdout.splitlines()[:2]), -9
        return done

    monkeypatch.setattr(isolation.subprocess, "run", killed_the_first_time)
    assert (
        find_crashing(storage.open_artifact(raw, "ingest").part_uris("images")[0], AlignConfig())
        == {}
    )
    assert len(runs) == 3
    assert len(runs[1].stdout.splitlines()) == 3, "goes on with the image of the one killed"


def test_a_child_that_cannot_read_the_shard_says_why(root: str) -> None:
    with pytest.raises(IsolationFailed, match=r"part-7.parquet: .*no such part"):
        find_crashing(f"{root}/part-7.parquet", AlignConfig())
