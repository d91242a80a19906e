"""Small raw artifacts for the align stage, and aligning them without Prefect or Dask."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache

from facenet_core import storage
from facenet_core.alignment import stage
from facenet_core.config import AlignConfig
from facenet_core.storage import Manifest, parquet, schemas
from facenet_core.synthetic_faces import generate


@cache
def face(person: int, number: int = 0) -> bytes:
    """The JPEG of a drawn face, 250x250."""
    return generate.encode(0, person, number)


def raw_artifact(root: str, shards: Sequence[Mapping[str, bytes]]) -> str:
    """Write a raw artifact of these photographs by image_id; returns its URI."""
    content = [[(name, hashlib.sha256(d).hexdigest()) for name, d in s.items()] for s in shards]
    plan = storage.plan_stage(root, "ingest", "photographs", {"content": content}, [], 1)
    parts = []
    for number, photographs in enumerate(shards):
        name = f"images/{parquet.part_name(number)}"
        with parquet.PartWriter(
            storage.join(plan.uri, name), schemas.RAW, plan.fingerprint
        ) as part:
            for image_id, data in photographs.items():
                part.write(
                    {
                        "image_id": image_id,
                        "identity": image_id.split("/")[0],
                        "image": {"bytes": data, "path": image_id},
                        "sha256": hashlib.sha256(data).hexdigest(),
                    }
                )
        parts.append(parquet.describe_part(plan.uri, name))
    storage.publish(plan, storage.Outcome(parts, {"images": sum(map(len, shards))}), {})
    return plan.uri


def aligned(
    root: str, raw: str, config: AlignConfig, isolate: bool = False
) -> tuple[str, Manifest]:
    """Carry out the align stage: URI and manifest of its artifact."""
    source = storage.open_artifact(raw, "ingest")
    plan = stage.plan_align(root, source, config)
    summaries = [
        stage.align_shard(plan, part, number, config, isolate=isolate)
        for number, part in enumerate(source.part_uris("images"))
    ]
    return plan.uri, stage.finish(plan, source, summaries, {})


def rows(uri: str, folder: str) -> list[dict]:
    """All rows of an artifact's `crops` or `rejects`, in order."""
    parts = storage.open_artifact(uri, "align").part_uris(folder)
    return [row for part in parts for row in parquet.read_table(part).to_pylist()]
