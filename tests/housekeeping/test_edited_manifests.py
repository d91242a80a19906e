"""Manifests and their kin edited by hand: every command says what is wrong, none crashes."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from facenet_core import storage
from facenet_core.errors import ArtifactError
from flows.cli import storage_actions
from flows.cli.main import main
from tests.support.stored import published

OTHERS = (None, True, -1, 2**70, 1.5, float("nan"), "seven", "", [], ["x"], {}, {"x": "y"})
FIELDS = [
    ("format",),
    ("stage",),
    ("name",),
    ("fingerprint",),
    ("config",),
    ("inputs",),
    ("inputs", 0),
    ("inputs", 0, "uri"),
    ("parts",),
    ("parts", 0),
    ("parts", 0, "name"),
    ("parts", 0, "rows"),
    ("parts", 0, "bytes"),
    ("parts", 0, "sha256"),
    ("counts",),
    ("counts", "images"),
    ("counts", "crops"),
    ("made_by",),
    ("made_by", "pyarrow"),
    ("details",),
    ("details", "files"),
    ("details", "labels"),
    ("details", "metrics"),
    ("details", "image_size"),
]
_GONE = object()


def edit(content: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The same with another value at a path, or without it."""
    first, *rest = path
    changed = list(content) if isinstance(content, list) else dict(content)
    if rest:
        changed[first] = edit(content[first], tuple(rest), value)
    elif value is _GONE:
        del changed[first]
    else:
        changed[first] = value
    return changed


@pytest.fixture
def crops(root: str) -> str:
    """The URI of a finished artifact of a few bytes, with everything that a manifest may hold."""
    plan = storage.plan_stage(root, "align", "faces", {}, [storage.Input("raw", "f")], 1)
    storage.write_bytes(storage.join(plan.uri, "crops/part"), b"faces")
    part = storage.describe_file(plan.uri, "crops/part", rows=3)
    counts = {"images": 3, "aligned": 3, "crops": 3, "rejects": 0}
    details = {"files": [], "labels": ["Ann"], "metrics": {}, "image_size": 160}
    storage.publish(plan, storage.Outcome([part], counts, details), {})
    return plan.uri


def change(uri: str, path: tuple[str | int, ...], value: object) -> None:
    file_path = Path(uri) / storage.MANIFEST
    file_path.write_text(json.dumps(edit(json.loads(file_path.read_text()), path, value)))


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(map(str, path)))
def test_a_manifest_with_another_value_anywhere_crashes_no_command(
    root: str, crops: str, path: tuple[str | int, ...]
) -> None:
    whole = (Path(crops) / storage.MANIFEST).read_text()
    for value in (*OTHERS, _GONE):
        (Path(crops) / storage.MANIFEST).write_text(whole)
        change(crops, path, value)
        for as_json in (False, True):  # nothing but errors that name the file is raised
            storage_actions.list_artifacts(root, [], None, not as_json, as_json)
        with suppress(ArtifactError):
            storage_actions.verify(root, [], None, False, True)


@pytest.mark.parametrize("count", ["7", None, 1.5, True, -1, 2**64])
def test_a_count_that_is_no_number_is_named(crops: str, count: object) -> None:
    change(crops, ("counts", "crops"), count)
    with pytest.raises(ArtifactError, match=r"counts\.crops is "):
        storage.open_artifact(crops, "align")


@pytest.mark.parametrize("name", ["/etc/passwd", "../raw/x", "crops/../../x", "", "a//b", "."])
def test_a_part_that_lies_elsewhere_is_refused(crops: str, name: str) -> None:
    change(crops, ("parts", 0, "name"), name)
    with pytest.raises(ArtifactError, match="is no file within it"):
        storage.read_manifest(crops)


@pytest.mark.parametrize("lost", [("counts", "images"), ("inputs",)])
def test_what_every_stage_reads_must_be_there(crops: str, lost: tuple[str, ...]) -> None:
    change(crops, lost, [] if lost == ("inputs",) else _GONE)
    with pytest.raises(ArtifactError, match=f"does not say {lost[-1]}; somebody edited it"):
        storage.open_artifact(crops, "align")


@pytest.mark.parametrize(
    "finished", ["2026-01-01T00:00:00", "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59", 7, {}]
)
def test_a_date_that_was_edited_crashes_no_command(
    root: str, finished: object, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = published(root, "ingest", "faces", ["source"])
    storage.write_bytes(storage.join(uri, storage.RUN), json.dumps({"finished": finished}).encode())
    for words in (["ls"], ["ls", "--json"], ["gc", "--older-than", "1d"]):
        assert main(["storage", *words, "--storage", root]) == 0, capsys.readouterr()
