"""The catalogue, and finding out where a source comes from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from facenet_core import config, storage
from facenet_core.config import IngestConfig
from facenet_core.datasets import stage
from facenet_core.datasets.fetch.catalogue import read_catalogue
from facenet_core.datasets.fetch.locate import locate, name_of
from facenet_core.errors import ConfigError, SourceError
from facenet_core.fetch.download import fetch
from tests.support.ingesting import contents
from tests.support.photographs import files, write_folder, write_tar
from tests.support.scripted_server import Served, serving


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A site's catalogue."""
    path = tmp_path / "own.yaml"
    archive = {"name": "badges.tgz", "urls": ["http://badges.invalid/badges.tgz"]}
    path.write_text(yaml.safe_dump({"badges": {"title": "Our badges", "archive": archive}}))
    return path


def test_the_built_in_entries_can_be_had_or_say_how() -> None:
    entries = read_catalogue()
    assert set(entries) == {
        "lfw",
        "lfw-funneled",
        "lfw-deepfunneled",
        "casia-webface",
        "vggface2",
        "ms1m",
    }
    assert (entries["lfw"].images, entries["lfw"].people) == (13_233, 5_749)
    for name in ("lfw", "lfw-funneled", "lfw-deepfunneled"):
        names = [file.name for file in entries[name].files]
        assert names == ["pairs.txt", "pairsDevTrain.txt", "pairsDevTest.txt", "people.txt"]
        for file in (entries[name].archive, *entries[name].files):
            assert file.sha256 or file.md5
    for name in ("casia-webface", "vggface2", "ms1m"):
        assert "facenet ingest" in entries[name].obtain


def test_a_data_set_that_has_no_download_says_how_to_get_it(root: str) -> None:
    with pytest.raises(SourceError, match=r"facenet ingest FOLDER --name vggface2"):
        locate(root, IngestConfig(source="vggface2"))


def test_a_name_nearly_right_is_helped(root: str) -> None:
    with pytest.raises(SourceError, match="did you mean `lfw-funneled`"):
        locate(root, IngestConfig(source="lfw-funeled"))


def test_a_site_adds_its_own(root: str, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = locate(root, IngestConfig(source="badges", catalogue=str(own)))
    assert origin.uri == storage.join(root, "downloads", "badges", "badges.tgz")
    monkeypatch.setenv("FACENET_CATALOGUE", str(own))
    assert "badges" in read_catalogue()
    assert "lfw" in read_catalogue()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("badges: {title: x}", "archive"),
        ("badges: {title: x, archiv: {}}", "did you mean `archive`"),
        ("badges: {title: x, archive: {name: ../x, urls: [u]}}", "archive.name"),
        ("badges: {title: x, archive: {name: x, urls: [u], sha256: abc}}", "archive.sha256"),
        ("[1]", "entries by name"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_malformed_catalogue_names_the_field(own: Path, text: str, message: str) -> None:
    own.write_text(text)
    with pytest.raises(ConfigError, match=message) as failure:
        read_catalogue(str(own))
    assert str(own) in str(failure.value)


def test_what_lies_here_goes_before_the_catalogue(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(root, IngestConfig(source="lfw")).files
    write_folder(tmp_path / "lfw", files())
    assert locate(root, IngestConfig(source="lfw")).uri == str(tmp_path / "lfw")


def test_a_name_in_a_configuration_file_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for source, expected in (
        ("lfw", "lfw"),
        ("here", str(tmp_path / "here")),
        ("../lfw.tgz", str(tmp_path / ".." / "lfw.tgz")),
    ):
        file = tmp_path / "pipeline.yaml"
        file.write_text(yaml.safe_dump({"ingest": {"source": source}}))
        assert config.load(file).ingest.source == expected


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/lfw.tar.gz", "lfw"),
        ("https://h/faces.v2.tar.zst", "faces.v2"),
        ("s3://bucket/people/", "people"),
        ("train.rec", "train"),
        ("/data/Gesichter & Co.zip", "Gesichter---Co"),
    ],
)
def test_the_name_of_a_source(source: str, name: str) -> None:
    assert name_of(source) == name


def test_a_download_and_the_same_file_are_the_same_source(
    root: str, bucket: str, tmp_path: Path
) -> None:
    archive = write_tar(tmp_path / "faces.tgz", files())
    local = stage.plan_ingest(root, IngestConfig(source=str(archive)))
    with serving(Served(archive.read_bytes())) as server:
        for path in (root, bucket):
            source = IngestConfig(source=f"{server.url}faces.tgz?id=3")
            notes = [fetch(file) for file in locate(path, source).files]
            plan = stage.plan_ingest(path, source)
            written = stage.stream(path, plan, source)
            manifest = stage.finish(plan, written, {}, notes)
            assert plan.fingerprint == local.fingerprint
            assert contents((plan, manifest)) == files()
            assert plan.inputs[0].uri == source.source
            [file] = manifest.details["files"]
            assert file["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
