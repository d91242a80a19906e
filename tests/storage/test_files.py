"""Storage: writes are whole or not at all, and only a folder with a manifest is an artifact."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core import storage
from facenet_core.errors import ArtifactError, StorageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def make_artifact(root: str, name: str = "faces") -> storage.Plan:
    plan = storage.plan_stage(root, "ingest", name, {"shards": 1}, [storage.Input("x", "y")], 1)
    storage.write_bytes(storage.join(plan.uri, "images/part-00000.parquet"), b"pictures")
    part = storage.describe_file(plan.uri, "images/part-00000.parquet", rows=3)
    storage.publish(plan, storage.Outcome([part], {"images": 3}), {"run_id": "r"})
    return plan


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage root on a local folder and on an S3 server."""
    if request.param == "local":
        return str(tmp_path / "store")
    return request.getfixturevalue("bucket")


def test_a_published_artifact_reads_back(place: str) -> None:
    plan = make_artifact(place)
    manifest = storage.open_artifact(plan.uri, "ingest").manifest
    assert manifest.fingerprint == plan.fingerprint
    assert manifest.counts == {"images": 3}
    assert manifest.parts[0].bytes == 8
    assert manifest.parts[0].sha256 == storage.sha256(
        storage.join(plan.uri, manifest.parts[0].name)
    )
    assert "pyarrow" in manifest.made_by
    assert storage.finished(plan) == manifest


def test_a_file_is_there_whole_or_not_at_all(place: str) -> None:
    uri = storage.join(place, "folder/file")
    with pytest.raises(RuntimeError), storage.new_file(uri) as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert not storage.exists(uri)
    assert storage.list_files(place) == []
    storage.write_bytes(uri, b"first")
    with pytest.raises(RuntimeError), storage.new_file(uri) as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert storage.read_bytes(uri) == b"first"


def test_missing_files_and_folders_are_told_apart_from_failures(place: str) -> None:
    assert storage.size(storage.join(place, "nothing")) is None
    assert storage.list_files(storage.join(place, "nothing")) == []
    assert storage.read_manifest(storage.join(place, "nothing")) is None
    storage.remove(storage.join(place, "nothing"))
    storage.write_bytes(storage.join(place, "file"), b"x")
    assert storage.read_manifest(storage.join(place, "file")) is None
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(place, "nothing"))


def test_a_part_that_shrank_makes_the_artifact_unfinished(place: str) -> None:
    plan = make_artifact(place)
    storage.write_bytes(storage.join(plan.uri, "images/part-00000.parquet"), b"pict")
    assert storage.finished(plan) is None
    with pytest.raises(ArtifactError, match=r"missing or cut .*images/part-00000"):
        storage.open_artifact(plan.uri, "ingest")


def test_nothing_is_published_without_its_parts(root: str) -> None:
    plan = storage.plan_stage(root, "ingest", "faces", {}, [], 1)
    with pytest.raises(ArtifactError, match="vanished"):
        storage.publish(
            plan, storage.Outcome([storage.Part("images/part-00000.parquet", 1, 1, "")], {}), {}
        )
    assert storage.read_manifest(plan.uri) is None


def test_a_manifest_is_json_or_is_not_written(root: str) -> None:
    plan = storage.plan_stage(root, "train", "m", {}, [], 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.publish(plan, storage.Outcome([], {}, {"threshold": float("nan")}), {})
    assert storage.read_manifest(plan.uri) is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.plan_stage(root, "train", "m", {"warmup_epochs": float("inf")}, [], 1)


@pytest.mark.parametrize("stage", ["ingest", "train", "validate"])
def test_what_is_made_again_in_other_bytes_is_described_as_it_is_now(root: str, stage: str) -> None:
    inputs = [storage.Input("crops", "c"), storage.Input("model", "m")]
    plan = storage.plan_stage(root, stage, "faces", {}, inputs, 1)
    for content in (b"saved at noon", b"saved at dusk"):
        storage.write_bytes(storage.join(plan.uri, "file"), content)
        part = storage.describe_file(plan.uri, "file")
        storage.publish(plan, storage.Outcome([part], {"images": 1}), {})
    (part,) = storage.open_artifact(plan.uri, stage).parts
    assert part.sha256 == storage.sha256(storage.join(plan.uri, "file"))


def test_two_that_remove_the_same_files_do_not_disturb_each_other(place: str) -> None:
    files = [storage.join(place, f"file-{number}") for number in range(12)]
    for file in files:
        storage.write_bytes(file, b"x")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(storage.remove, [file for file in files for _ in range(4)]))
    assert storage.list_files(place) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"format": 99}', b'{"format": 1}', b"\xff"]
)
def test_a_manifest_that_is_none_is_an_error(root: str, content: bytes) -> None:
    storage.write_bytes(storage.join(root, storage.MANIFEST), content)
    with pytest.raises(ArtifactError, match="manifest"):
        storage.read_manifest(root)


def test_an_artifact_of_another_stage_is_refused(root: str) -> None:
    with pytest.raises(ArtifactError, match="made by `ingest`, expected an output of `align`"):
        storage.open_artifact(make_artifact(root).uri, "align")


def test_a_root_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="--storage"):
        storage.check_writable(str(tmp_path / "file" / "store"))


def test_an_unknown_protocol_is_an_error_that_names_the_uri() -> None:
    with pytest.raises(StorageError, match="gopher://hole"):
        storage.exists("gopher://hole/x")


def _write_for_ever(uri: str, started) -> None:
    with storage.new_file(uri) as path:
        path.write_bytes(b"half")
        started.set()
        signal.pause()


def test_what_a_killed_process_was_writing_is_swept_away_when_its_artifact_is_published(
    root: str,
) -> None:
    plan = storage.plan_stage(root, "ingest", "faces", {"shards": 1}, [storage.Input("x", "y")], 1)
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    uri = storage.join(plan.uri, "images/part-00000.parquet")
    process = context.Process(target=_write_for_ever, args=(uri, started))
    process.start()
    assert started.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (Path(plan.uri) / ".of another program.tmp").write_text("")
    assert len(list(Path(plan.uri).rglob("*.tmp"))) == 2
    assert not storage.exists(uri)
    make_artifact(root)
    assert [f.name for f in Path(plan.uri).rglob("*.tmp")] == [".of another program.tmp"]


@given(JSON)
def test_equal_values_have_equal_fingerprints(value) -> None:
    digest = storage.fingerprint({"a": value, "b": 1})
    assert digest == storage.fingerprint({"b": 1, "a": value})
    assert len(digest) == 16
    assert int(digest, 16) >= 0


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "align"},
        {"config": {"shards": 2}},
        {"inputs": [storage.Input("x", "z")]},
        {"stage_format": 2},
    ],
)
def test_whatever_determines_the_output_changes_the_fingerprint(root: str, change: dict) -> None:
    plan = {"stage": "ingest", "name": "n", "config": {"shards": 1}, "stage_format": 1}
    plan["inputs"] = [storage.Input("x", "y")]
    one = storage.plan_stage(root, **plan)
    assert storage.plan_stage(root, **{**plan, **change}).fingerprint != one.fingerprint


def test_where_an_input_lies_does_not_change_the_fingerprint(root: str) -> None:
    here = storage.plan_stage(root, "align", "n", {}, [storage.Input("/here", "y")], 1)
    there = storage.plan_stage("s3://b", "align", "n", {}, [storage.Input("s3://there", "y")], 1)
    assert here.fingerprint == there.fingerprint


@pytest.mark.parametrize(
    "name", ["photos::2024", "a%20b", "col::on", "file:x", "memory:x", "simplecache::a", "a#b?c"]
)
@pytest.mark.parametrize("relative", [False, True])
def test_a_path_without_a_scheme_is_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    root = name if relative else str(tmp_path / name)
    assert storage.is_local(root)
    storage.write_bytes(storage.join(root, "raw/file"), b"x")
    assert (tmp_path / name / "raw" / "file").read_bytes() == b"x"
    assert [entry.name for entry in storage.entries(root)] == ["raw"]
    assert list(storage.find_files(root)) == ["raw/file"]
    storage.remove(root)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["file://", "file://localhost", "FILE://"])
def test_a_file_uri_is_the_path_that_it_names(tmp_path: Path, scheme: str) -> None:
    uri = f"{scheme}{tmp_path}/a%20b%25"
    assert storage.is_local(uri)
    assert storage.absolute(uri) == f"{tmp_path}/a b%"
    storage.write_bytes(uri, b"x")
    assert (tmp_path / "a b%").read_bytes() == b"x"


@pytest.mark.parametrize("uri", ["file://tmp/r", "file://host", "file://"])
def test_a_file_uri_of_another_machine_is_an_error(uri: str) -> None:
    with pytest.raises(StorageError, match="file:///"):
        storage.absolute(uri)


@pytest.mark.parametrize(
    "uri", ["simplecache::http://h/a", "zip://a::file:///b.zip", "a::b::s3://c", "dir://x"]
)
def test_chained_file_systems_are_refused(uri: str) -> None:
    with pytest.raises(StorageError, match=f"{uri}: cannot be used as storage"):
        storage.exists(uri)


def test_colons_in_an_address_of_the_web_chain_nothing() -> None:
    fs, path = storage.file_system("http://[::1]:9/a::b.jpg")
    assert "http" in fs.protocol
    assert path == "http://[::1]:9/a::b.jpg"
