"""Embed: crop shards become shards of embeddings, one for one.

crops = storage.open_artifact(crops_uri, "align")
model = storage.open_artifact(model_uri, "train")
plan = plan_embed(root, crops, model, config)
parts = enumerate(crops.part_uris("crops"))  # embedding shard i is made of the i-th
summaries = [embed_shard(plan, part, number, config) for number, part in parts]
finish(plan, crops, summaries, run)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from facenet_core import storage
from facenet_core.config import EmbedConfig
from facenet_core.config.validate import Precision
from facenet_core.embedding import artifact
from facenet_core.embedding.crops import decode, require_finite, stack
from facenet_core.errors import AccountingError, ArtifactError
from facenet_core.models.face_model import FaceModel
from facenet_core.models.runtimes import Runtime, check_engine, open_runtime
from facenet_core.prefetch import one_ahead
from facenet_core.privacy import deny_list
from facenet_core.privacy.deny_list import REDACTED
from facenet_core.runtime import Watchdog
from facenet_core.storage import Artifact, Manifest, Part, Plan, parquet, schemas

STAGE_FORMAT = 1

_COLUMNS = ("image_id", "identity", "face_index", "score", "image")


@dataclass(frozen=True)
class ShardSummary:
    """What became of one crop shard.

    Attributes:
        crops: those that were embedded.
        redacted: crops of people who were forgotten.
    """

    number: int
    crops: int
    parts: tuple[Part]
    redacted: int = 0


def plan_embed(root: str, crops: Artifact, model: Artifact, config: EmbedConfig) -> Plan:
    """Where the embeddings of a crops artifact by a model belong.

    Raises:
        ArtifactError: the model's manifest does not say what it takes.
        ConfigError: no such runtime is installed, or it does not compute in that precision.
    """
    check_engine(config.engine, config.precision)
    FaceModel.from_artifact(model)
    inputs = [crops.as_input(), model.as_input()]
    return deny_list.plan_stage(
        root, "embed", crops.name, config.determining(), inputs, STAGE_FORMAT
    )


def embed_shard(
    plan: Plan, crops_part: str, number: int, config: EmbedConfig, *, supervised: bool = False
) -> ShardSummary:
    """Embed the crops of one shard, unless that was done before.

    One row group of crops is in memory at a time, and is a batch for the model: the result depends
    on nothing but the shard. The model is fetched and compiled once in a process.

    Args:
        supervised: this process is replaced when it dies, so it ends itself if it hangs.

    Raises:
        ArtifactError: a crop cannot be decoded, or the model gives numbers that are not finite.
        AccountingError: crops went in that did not come out.
    """
    uri = storage.join(plan.uri, _part_name(number))
    if not parquet.part_is_current(uri, plan.fingerprint):
        left_out = deny_list.of_plan(plan).covers
        source, flipped = artifact.model_of(plan), plan.config["use_flipped_images"]
        runtime = _open(source.uri, source.fingerprint, config.engine, config.precision)
        schema = schemas.crop_embeddings(runtime.model.embedding_size, flipped)
        schema = artifact.naming_model(schema, source.fingerprint, runtime.model.name)
        with (
            Watchdog(config.progress_timeout if supervised else None) as watchdog,
            parquet.PartWriter(uri, schema, plan.fingerprint, artifact.GROUP_ROWS) as writer,
        ):
            for group in one_ahead(parquet.read_row_groups(crops_part, _COLUMNS)):
                remaining = [row for row in group.to_pylist() if not left_out(row["identity"])]
                for row in _embedded(remaining, runtime, flipped):
                    writer.write(row)
                watchdog.progress()
    return _summarise(plan, crops_part, number)


def finish(
    plan: Plan, crops: Artifact, summaries: Sequence[ShardSummary], run: Mapping[str, Any]
) -> Manifest:
    """Check that every crop has its embedding, and publish the manifest.

    Raises:
        AccountingError: one has not.
        ArtifactError: somebody was forgotten meanwhile, or a part is gone.
    """
    deny_list.of_plan(plan)
    redacted = sum(summary.redacted for summary in summaries)
    expected = crops.counts["crops"] - redacted
    embedded = sum(summary.crops for summary in summaries)
    _close(plan.uri, expected, embedded)
    counts = {"crops": expected, "embeddings": embedded}
    if redacted:
        counts[REDACTED] = redacted
    model = storage.open_artifact(artifact.model_of(plan).uri, "train")
    details = {"model": model.name, "embedding_size": model.details["embedding_size"]}
    parts = [part for summary in summaries for part in summary.parts]
    return storage.publish(plan, storage.Outcome(parts, counts, details), run)


@lru_cache(maxsize=1)
def _open(uri: str, fingerprint: str, engine: str, precision: Precision) -> Runtime:
    """Fetch and compile a model, for one thread: a worker is a process for each core."""
    model = storage.open_artifact(uri, "train")
    if model.fingerprint != fingerprint:
        raise ArtifactError(f"{uri}: another model than when this run began; run it again")
    return open_runtime(FaceModel.from_artifact(model), engine, threads=1, precision=precision)


def _embedded(
    crops: Sequence[Mapping[str, Any]], runtime: Runtime, flipped: bool
) -> list[dict[str, Any]]:
    """Crop rows with their embeddings in place of their images."""
    if not crops:
        return []
    images = [decode(crop["image_id"], crop["image"]["bytes"]) for crop in crops]
    batch = stack(images, runtime.model.image_size)
    vectors = runtime.embed_with_mirrored(batch) if flipped else runtime(batch)
    require_finite(vectors, [crop["image_id"] for crop in crops])
    names = ("embedding", "embedding_flipped")[: 1 + flipped]
    columns = {
        # In bfloat16 their length is 1 to three digits.
        name: half / np.linalg.norm(half, axis=1, keepdims=True)
        for name, half in zip(names, np.split(vectors, len(names), axis=1), strict=True)
    }
    return [
        {name: value for name, value in crop.items() if name != "image"}
        | {name: column[number] for name, column in columns.items()}
        for number, crop in enumerate(crops)
    ]


def _part_name(number: int) -> str:
    return f"{artifact.FOLDER}/{parquet.part_name(number)}"


def _summarise(plan: Plan, crops_part: str, number: int) -> ShardSummary:
    """Count the rows of the shard's part, which an earlier run may have written."""
    part = parquet.describe_part(plan.uri, _part_name(number))
    redacted = deny_list.count_left_out(plan, crops_part)
    _close(crops_part, parquet.count_rows(crops_part) - redacted, part.rows)
    return ShardSummary(number, part.rows, (part,), redacted)


def _close(uri: str, crops: int, embedded: int) -> None:
    if crops != embedded:
        raise AccountingError(
            f"{uri}: {crops} crops went in, {embedded} embeddings came out; please report this "
            "with the shard"
        )
