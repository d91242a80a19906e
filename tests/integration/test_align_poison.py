"""Photographs that kill or hang the worker that decodes them, through the whole command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.storage import parquet
from tests.support.photographs import write_folder
from tests.support.poison import CRASH, HANG, install
from tests.support.raw_shards import rows
from tests.support.tiny import facenet

OPTIONS = ["--image-size", 72, "--margin", 16, "--workers", 2]


@pytest.fixture
def photographs(undisturbed: Path, tmp_path: Path) -> Path:
    """A folder of faces and of files of which no decoder makes anything."""
    (raw,) = undisturbed.glob("raw/tiny/*")
    drawn = parquet.read_table(str(raw / "images" / parquet.part_name(0))).to_pylist()
    files = {row["image_id"]: row["image"]["bytes"] for row in drawn}
    first, *_ = files.values()
    broken = {"Z/text.jpg": b"not an image", "Z/cut.jpg": first[:3000], "Z/head.png": b"\x89PNG"}
    return write_folder(tmp_path / "photographs", files | broken)


def aligned(raw: Path, store: Path, *options: object, **environment: str) -> str:
    status, out, errors = facenet(
        "align", raw, *OPTIONS, *options, "--storage", store, **environment
    )
    assert status == 0, errors
    return out.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mark", "detail"),
    [
        (CRASH, "killed the process that worked on it: SIGSEGV"),
        (HANG, "hung the process that worked on it"),
    ],
)
def test_it_is_a_reject_and_every_other_photograph_comes_out_as_ever(
    photographs: Path, tmp_path: Path, mark: bytes, detail: str
) -> None:
    victim = "Z/victim.jpg"
    (photographs / victim).write_bytes(next(photographs.rglob("S*.jpg")).read_bytes() + mark)
    bugs = install(tmp_path / "bugs")
    timeout = ["--progress-timeout", 15]
    uri = aligned(photographs, tmp_path / "sick", *timeout, PYTHONPATH=bugs)
    sound = aligned(photographs, tmp_path / "sound", *timeout)
    counts = storage.open_artifact(uri, "align").counts
    assert counts["rejects.crashed"] == 1
    assert counts["rejects.undecodable"] == 3
    assert counts["images"] == counts["aligned"] + counts["rejects"]
    (reject,) = (row for row in rows(uri, "rejects") if row["reason"] == "crashed")
    assert (reject["image_id"], reject["detail"]) == (victim, detail)
    assert rows(uri, "crops") == [r for r in rows(sound, "crops") if r["image_id"] != victim]
    assert os.path.basename(uri) == os.path.basename(sound)
