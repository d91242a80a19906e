"""Small storage roots: stages carried out without Prefect, and artifacts of a few bytes."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from facenet_core import storage
from facenet_core.alignment import stage as shard
from facenet_core.config import AlignConfig, IngestConfig
from facenet_core.datasets import stage as ingest
from facenet_core.storage import parquet, schemas
from facenet_core.synthetic_faces import generate

PEOPLE = ("Ann_Lee", "Bob_Ó_Sé", "Cy_Young", "Dora_Maar")
PHOTOGRAPHS = 3  # of each
CONFIG = AlignConfig(image_size=64, margin=8)


@dataclass(frozen=True)
class Site:
    """A root, the archive that its photographs came from, and its two artifacts."""

    root: str
    archive: Path
    raw: str
    crops: str


@cache
def face(person: int, number: int) -> bytes:
    return generate.encode(0, person, number)


def write_archive(path: Path, people: Sequence[str] = PEOPLE) -> Path:
    """A tar of photographs, with one text file and one broken photograph of each person."""
    with tarfile.open(path, "w") as tar:
        for person, name in enumerate(people):
            content = {
                f"{name}_{number:04d}.jpg": face(person, number) for number in range(PHOTOGRAPHS)
            }
            content |= {"notes.txt": b"born in 1950", f"{name}_9999.jpg": b"\xff\xd8\xff cut"}
            for file, data in content.items():
                entry = tarfile.TarInfo(f"people/{name}/{file}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return path


def ingested(root: str, source: Path | str, **options: object) -> str:
    """The URI of the raw artifact, made if it is not there."""
    config = IngestConfig(source=str(source), shards=3, **options)  # type: ignore[arg-type]
    plan = ingest.plan_ingest(root, config)
    if storage.finished(plan) is None:
        if source == "synthetic":
            parts = [ingest.draw_shard(plan, n) for n in range(plan.config["shards"])]
            written = ingest.join_shards(plan, parts)
        else:
            written = ingest.stream(root, plan, config)
        ingest.finish(plan, written, {})
    return plan.uri


def aligned(root: str, raw: str) -> str:
    """The URI of the crops, made if they are not there."""
    source = storage.open_artifact(raw, "ingest")
    plan = shard.plan_align(root, source, CONFIG)
    if storage.finished(plan) is None:
        parts = enumerate(source.part_uris("images"))
        made = [shard.align_shard(plan, part, number, CONFIG) for number, part in parts]
        shard.finish(plan, source, made, {})
    return plan.uri


def published(
    root: str,
    stage: str,
    name: str,
    inputs: Sequence[str] = (),
    *,
    files: Mapping[str, bytes] | None = None,
    details: Mapping[str, object] | None = None,
    days: float = 0,
) -> str:
    """A finished artifact of a few bytes, made `days` ago of others; returns its URI."""
    arguments = [storage.Input(uri, uri.rsplit("/", 1)[-1]) for uri in inputs]
    plan = storage.plan_stage(root, stage, name, {}, arguments, 1)
    files = files or {"data.bin": name.encode()}
    for file, content in files.items():
        storage.write_bytes(storage.join(plan.uri, file), content)
    parts = [storage.describe_file(plan.uri, f) for f in files if not f.startswith("attempts/")]
    done = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    storage.publish(plan, storage.Outcome(parts, {}, details or {}), {"finished": done})
    return plan.uri


def unfinished(root: str, label: str) -> str:
    """A folder that a stage has begun; returns its URI."""
    uri = storage.join(root, label)
    storage.write_bytes(storage.join(uri, "crops/part-00000.parquet"), b"half")
    return uri


def promote(root: str, model: str) -> None:
    finished = "2026-01-01T00:00:00+00:00"
    latest = {"fingerprint": model.rsplit("/", 1)[-1], "finished": finished}
    uri = storage.join(model.rsplit("/", 1)[0], "latest.json")
    storage.write_bytes(uri, json.dumps(latest).encode())


def age(folder: str, days: float) -> None:
    """Let all files of a local folder be so old."""
    then = (datetime.now() - timedelta(days=days)).timestamp()
    for file in Path(folder).rglob("*"):
        os.utime(file, (then, then))


def report_of(root: str, crops: str, model: str, people: Sequence[str]) -> str:
    """A finished report with embeddings of these people."""
    inputs = [storage.Input(uri, uri.rsplit("/", 1)[-1]) for uri in (crops, model)]
    plan = storage.plan_stage(root, "validate", "report", {}, inputs, 1)
    rows = {"image_id": [f"{p}/1.jpg" for p in people], "identity": list(people)}
    table = pa.table({**rows, "embedding": [[0.0, 1.0]] * len(people)}, schema=schemas.EMBEDDINGS)
    parquet.write_table(storage.join(plan.uri, "embeddings.parquet"), table, plan.fingerprint)
    parts = [parquet.describe_part(plan.uri, "embeddings.parquet")]
    storage.publish(plan, storage.Outcome(parts, {}), {})
    return plan.uri


def table(uri: str, folder: str) -> list[dict]:
    """All rows of one of an artifact's tables, in order."""
    manifest = storage.read_manifest(uri)
    assert manifest is not None
    places = storage.Artifact(uri, manifest).part_uris(folder)
    return [row for path in places for row in parquet.read_table(path).to_pylist()]


def tree(root: str) -> dict[str, str]:
    """Every file below a root, and its content's digest."""
    return {uri.removeprefix(root): storage.sha256(uri) for uri in storage.list_files(root)}


@pytest.fixture(scope="session")
def made_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    archive = write_archive(folder / "people.tar")
    root = str(folder / "store")
    raw = ingested(root, archive)
    return Site(root, archive, raw, aligned(root, raw))


@pytest.fixture
def site(made_site: Site, tmp_path: Path) -> Site:
    """A root of one's own, on local storage."""
    root = str(tmp_path / "store")
    shutil.copytree(made_site.root, root)
    return _moved(made_site, root)


@pytest.fixture(params=["local", "s3"])
def anywhere(request: pytest.FixtureRequest, made_site: Site, tmp_path: Path) -> Site:
    """A root of one's own, on local storage and on an S3 server."""
    if request.param == "local":
        return request.getfixturevalue("site")
    bucket = request.getfixturevalue("bucket")
    fsspec.filesystem("s3").put(f"{made_site.root}/", f"{bucket}/store/", recursive=True)
    return _moved(made_site, f"{bucket}/store")


def _moved(made: Site, root: str) -> Site:
    """The same, in a copy of the root: crops say where their photographs lay, so lineage goes by
    fingerprint."""
    raw, crops = (uri.replace(made.root, root) for uri in (made.raw, made.crops))
    assert storage.read_manifest(crops) is not None
    return Site(root, made.archive, raw, crops)
