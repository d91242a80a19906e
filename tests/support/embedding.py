"""Embedding crops artifacts without Prefect or Dask."""

from __future__ import annotations

from typing import Any

from facenet_core import storage
from facenet_core.config import EmbedConfig
from facenet_core.embedding import stage
from facenet_core.storage import Artifact, parquet


def embedded(root: str, crops_uri: str, model_uri: str, **config: Any) -> Artifact:
    """Carry out the embed stage; its artifact."""
    crops = storage.open_artifact(crops_uri, "align")
    model = storage.open_artifact(model_uri, "train")
    settings = EmbedConfig(**config)
    plan = stage.plan_embed(root, crops, model, settings)
    shards = enumerate(crops.part_uris("crops"))
    summaries = [stage.embed_shard(plan, part, number, settings) for number, part in shards]
    return Artifact(plan.uri, stage.finish(plan, crops, summaries, {}))


def rows(artifact: Artifact, folder: str = "embeddings") -> list[dict[str, Any]]:
    """All rows of the parts in a folder of an artifact, in order."""
    tables = map(parquet.read_table, artifact.part_uris(folder))
    return [row for table in tables for row in table.to_pylist()]
