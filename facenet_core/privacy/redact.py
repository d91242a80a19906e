"""Artifacts with rows of people again, without some: under a new fingerprint, part for part.

Rows keep their shards and their order, and row groups are filled as the stages fill them: what is
written here of raw shards is byte for byte what ingest makes of the same source now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from facenet_core import storage
from facenet_core.alignment import samples
from facenet_core.config import SYNTHETIC
from facenet_core.datasets.rows import compile_identity_pattern, names_forgotten
from facenet_core.datasets.stage import SKIPPED_ROWS
from facenet_core.embedding import artifact as embedding
from facenet_core.privacy.deny_list import REDACTED
from facenet_core.storage import Artifact, Manifest, Part, Plan, parquet, schemas

LeftOut = Callable[[str], bool]
Dropped = Callable[[str, pa.Table], list[bool]]

_SCHEMAS = {
    "images": schemas.RAW,
    "skipped": schemas.SKIPPED,
    "crops": schemas.CROPS,
    "rejects": schemas.REJECTS,
}
_ROWS = {"skipped": SKIPPED_ROWS, embedding.FOLDER: embedding.GROUP_ROWS}
_THREADS = 4  # each holds a row group of pictures


def row_filter(artifact: Artifact, left_out: LeftOut) -> Dropped:
    """Which rows of a table of an artifact, given its folder, are of people who are left out."""
    pattern = compile_identity_pattern(artifact.config.get("identity_pattern"))

    def dropped(folder: str, table: pa.Table) -> list[bool]:
        if folder == "skipped":
            paths = table["path"].to_pylist()
            return [names_forgotten(path, artifact.name, pattern, left_out) for path in paths]
        is_left_out: dict[str, bool] = {}
        names = table["identity"].to_pylist()
        return [is_left_out.setdefault(name, name != "" and left_out(name)) for name in names]

    return dropped


def redact(artifact: Artifact, plan: Plan, left_out: LeftOut, run: Mapping[str, Any]) -> Manifest:
    """Write the artifact of `plan`: another one without the people who are left out.

    What an earlier, interrupted try has written stays.

    Args:
        artifact: the old one; it stays as it is.
        plan: of the new one, from `deny_list.plan_stage`.
        run: for `run.json`.

    Raises:
        ArtifactError: a part is missing or damaged.
    """
    if (made := storage.finished(plan)) is not None:
        return made
    dropped = row_filter(artifact, left_out)
    tables = [part for part in artifact.parts if part.folder in (*_SCHEMAS, embedding.FOLDER)]
    with ThreadPoolExecutor(_THREADS) as writers:
        parts = list(writers.map(lambda part: _rewrite(artifact, part, plan, dropped), tables))
    if plan.stage == "ingest":
        counts = _raw_counts(artifact, plan, parts, dropped)
    elif plan.stage == "embed":
        left = _totals(parts, embedding.FOLDER)
        gone = artifact.counts["embeddings"] - left + artifact.counts.get(REDACTED, 0)
        counts = {"crops": left, "embeddings": left, REDACTED: gone}
    else:
        counts = _crops_counts(artifact, plan, parts)
        parts += _draw_sheets(plan, parts)
    return storage.publish(plan, storage.Outcome(parts, counts, artifact.details), run)


def _rewrite(artifact: Artifact, part: Part, plan: Plan, dropped: Dropped) -> Part:
    uri_of_part, folder = storage.join(plan.uri, part.name), part.folder
    if not parquet.part_is_current(uri_of_part, plan.fingerprint):
        rows = _ROWS.get(folder, parquet.ROW_GROUP_ROWS)
        schema = _SCHEMAS.get(folder) or parquet.read_schema(artifact.file_uri(part.name))
        with parquet.PartWriter(uri_of_part, schema, plan.fingerprint, rows) as writer:
            for group in parquet.read_row_groups(artifact.file_uri(part.name)):
                flags = dropped(folder, group)
                if folder in ("images", "crops") and all(flags):
                    continue
                for row, gone in zip(group.to_pylist(), flags, strict=True):
                    if not gone:
                        writer.write(row)
    return parquet.describe_part(plan.uri, part.name)


def _raw_counts(
    artifact: Artifact, plan: Plan, parts: list[Part], dropped: Dropped
) -> dict[str, int]:
    counts = dict(artifact.counts)
    before = _totals(artifact.parts, "images")
    skipped_before = _reasons(artifact.uri, artifact.parts)
    after, skipped = _totals(parts, "images"), _reasons(plan.uri, parts)
    gone = before - after + skipped_before.total() - skipped.total()
    counts["images"] = after
    counts["skipped"] = skipped.total()
    for reason in skipped_before:
        counts.pop(f"skipped.{reason}", None)
    counts |= {f"skipped.{reason}": count for reason, count in skipped.items()}
    counts[REDACTED] = counts.get(REDACTED, 0) + gone
    people, size = _gone(artifact, dropped)
    counts["identities"] = counts.get("identities", 0) - people
    counts["bytes"] = counts.get("bytes", 0) - size
    if plan.inputs[0].uri == SYNTHETIC:  # there it is the bytes of the shards
        counts["bytes"] = sum(part.bytes for part in parts if part.folder == "images")
    return counts


def _gone(artifact: Artifact, dropped: Dropped) -> tuple[int, int]:
    """How many people are taken out of the raw shards, and the bytes of their photographs."""
    people: set[str] = set()
    size = 0
    for part_uri in artifact.part_uris("images"):
        table = parquet.read_table(part_uri, ["identity"])
        rows = [row for row, gone in enumerate(dropped("images", table)) if gone]
        people.update(table["identity"].take(rows).to_pylist() if rows else [])
        taken = parquet.read_rows(part_uri, rows, ["image"])
        size += sum(len(row["image"]["bytes"]) for row in taken)
    return len(people), size


def _crops_counts(artifact: Artifact, plan: Plan, parts: list[Part]) -> dict[str, int]:
    rejects = _reasons(plan.uri, parts)
    aligned = _images(plan.uri, parts)
    before = artifact.counts["images"]
    counts = {name: n for name, n in artifact.counts.items() if not name.startswith("rejects.")}
    return counts | {
        "images": aligned + rejects.total(),
        "aligned": aligned,
        "crops": _totals(parts, "crops"),
        "rejects": rejects.total(),
        **{f"rejects.{reason}": count for reason, count in sorted(rejects.items())},
        REDACTED: counts.get(REDACTED, 0) + before - aligned - rejects.total(),
    }


def _draw_sheets(plan: Plan, parts: list[Part]) -> list[Part]:
    """The contact sheets anew; without photographs to draw rejects from, none of these."""
    raw = storage.find_artifact(plan.inputs[0].uri) if plan.inputs else None
    if raw is None:
        crops = [part for part in parts if part.folder == "crops"]
        return samples.draw_sheets(plan.uri, crops, [])
    return samples.draw_sheets(plan.uri, parts, raw.part_uris("images"))


def _images(uri: str, parts: list[Part]) -> int:
    """Photographs that gave crops: all faces of one are in the same part."""
    images = 0
    for part in parts:
        if part.folder == "crops":
            ids = parquet.read_table(storage.join(uri, part.name), ["image_id"])["image_id"]
            images += len(ids.unique())
    return images


def _reasons(uri: str, parts: tuple[Part, ...] | list[Part]) -> Counter[str]:
    """Rows of the skipped or rejects tables by reason."""
    reasons: Counter[str] = Counter()
    for part in parts:
        if part.folder in ("skipped", "rejects"):
            table = parquet.read_table(storage.join(uri, part.name), ["reason"])
            reasons.update(table["reason"].to_pylist())
    return reasons


def _totals(parts: tuple[Part, ...] | list[Part], folder: str) -> int:
    return sum(part.rows for part in parts if part.folder == folder)
