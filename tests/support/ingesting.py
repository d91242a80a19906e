"""Running an ingest without Prefect, and reading what it made."""

from __future__ import annotations

from pathlib import Path

from facenet_core import storage
from facenet_core.config import IngestConfig
from facenet_core.datasets import stage
from facenet_core.storage import parquet

Artifact = tuple[storage.Plan, storage.Manifest]


def run(root: str, source: Path | str, **options: object) -> Artifact:
    config = IngestConfig(source=str(source), **options)  # type: ignore[arg-type]
    plan = stage.plan_ingest(root, config)
    return plan, stage.finish(plan, stage.stream(root, plan, config), {})


def rows(artifact: Artifact, folder: str = "images") -> list[dict]:
    plan, manifest = artifact
    read = []
    for uri in storage.Artifact(plan.uri, manifest).part_uris(folder):
        read += parquet.read_table(uri).to_pylist()
    return read


def contents(artifact: Artifact) -> dict[str, bytes]:
    return {row["image_id"]: row["image"]["bytes"] for row in rows(artifact)}


def identities(artifact: Artifact) -> dict[str, str]:
    return {row["image_id"]: row["identity"] for row in rows(artifact)}


def skipped(artifact: Artifact) -> dict[str, str]:
    return {row["path"]: row["reason"] for row in rows(artifact, "skipped")}


def manifests(root: str) -> list[str]:
    return [uri for uri in storage.list_files(root) if uri.endswith(storage.MANIFEST)]
