"""Align: raw shards become crop shards, one for one.

raw = storage.open_artifact(raw_uri, "ingest")
plan = plan_align(root, raw, config)
parts = enumerate(raw.part_uris("images"))  # crop shard i is made of the i-th
summaries = [align_shard(plan, part, number, config) for number, part in parts]
finish(plan, raw, summaries, run)
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from facenet_core import storage
from facenet_core.alignment import faces, isolation, samples
from facenet_core.config import AlignConfig
from facenet_core.errors import AccountingError, FacenetError, ShardError
from facenet_core.imaging import formats
from facenet_core.prefetch import one_ahead
from facenet_core.privacy import deny_list
from facenet_core.privacy.deny_list import REDACTED
from facenet_core.runtime import Watchdog
from facenet_core.storage import Artifact, Manifest, Part, Plan, parquet, schemas

_log = logging.getLogger(__name__)

STAGE_FORMAT = 3


@dataclass(frozen=True)
class ShardSummary:
    """What became of one raw shard.

    Attributes:
        images: those that were not left out.
        rejected: images by reason.
        redacted: images of people who were forgotten.
    """

    number: int
    images: int
    faces: int
    rejected: Mapping[str, int]
    parts: tuple[Part, Part]
    redacted: int = 0


def plan_align(root: str, raw: Artifact, config: AlignConfig) -> Plan:
    """Where the crops of a raw artifact belong."""
    resolved = config.model_copy(update={"detector_engine": faces.resolve_runtime(config)})
    resolved.warn_of_unused(explicit=config.model_fields_set)
    determining = resolved.determining()
    if missing := formats.not_read_here(raw.counts):  # an optional package changes the crops
        determining["formats_not_read"] = missing
    return deny_list.plan_stage(
        root, "align", raw.name, determining, [raw.as_input()], STAGE_FORMAT
    )


def align_shard(
    plan: Plan,
    raw_part: str,
    number: int,
    config: AlignConfig,
    *,
    supervised: bool = False,
    isolate: bool = False,
) -> ShardSummary:
    """Detect and crop the faces of one raw shard, unless that was done before.

    The rejects are written first; the crops commit the shard. One row group of images is in memory
    at a time, and batches of the detector are formed within it: the result depends on nothing but
    the shard.

    Args:
        supervised: this process is replaced when it dies, so it ends itself if it hangs.
        isolate: first find the images that crash or hang a process, in child processes; they
            become rejects, and the others are aligned as if these were not decodable.

    Raises:
        AccountingError: images went in that came out neither as crops nor as rejects.
    """
    # `auto` means on every worker what it meant where the plan was made.
    config = config.model_copy(update={"detector_engine": plan.config["detector_engine"]})
    crops_uri, rejects_uri = (storage.join(plan.uri, name) for name in _part_names(number))
    if not all(parquet.part_is_current(u, plan.fingerprint) for u in (crops_uri, rejects_uri)):
        crashed = isolation.find_crashing(raw_part, config) if isolate else {}
        left_out = deny_list.of_plan(plan).covers
        with (
            Watchdog(config.progress_timeout if supervised else None) as watchdog,
            parquet.PartWriter(crops_uri, schemas.CROPS, plan.fingerprint) as crop_rows,
            parquet.PartWriter(rejects_uri, schemas.REJECTS, plan.fingerprint) as reject_rows,
        ):
            columns = ["image_id", "identity", "image"]
            for group in one_ahead(parquet.read_row_groups(raw_part, columns)):
                rows = [row for row in group.to_pylist() if not left_out(row["identity"])]
                if not rows:
                    continue
                with _naming(rows):
                    for row in faces.align(rows, config, watchdog.progress, crashed):
                        (reject_rows if "reason" in row else crop_rows).write(row)
    return _summarise(plan, raw_part, number)


def finish(
    plan: Plan, raw: Artifact, summaries: Sequence[ShardSummary], run: Mapping[str, Any]
) -> Manifest:
    """Check that the sum closes over all shards, draw contact sheets, publish the manifest.

    Raises:
        AccountingError: it does not close.
        ArtifactError: somebody was forgotten meanwhile, or a part is gone.
    """
    deny_list.of_plan(plan)
    redacted = sum(summary.redacted for summary in summaries)
    images = raw.counts["images"] - redacted
    reasons: Counter[str] = Counter()
    for summary in summaries:
        reasons.update(summary.rejected)
    counts = {
        "images": images,
        "crops": sum(summary.faces for summary in summaries),
        "aligned": sum(s.images - sum(s.rejected.values()) for s in summaries),
        "rejects": sum(reasons.values()),
        **{f"rejects.{reason}": count for reason, count in reasons.items()},
    }
    if redacted:
        counts[REDACTED] = redacted
    _close(plan.uri, images, counts["aligned"], counts["rejects"])
    parts = [part for summary in summaries for part in summary.parts]
    parts += samples.draw_sheets(plan.uri, parts, raw.part_uris("images"))
    return storage.publish(plan, storage.Outcome(parts, counts), run)


def warn_of_formats(plan: Plan, counts: Mapping[str, int]) -> None:
    """Say how many photographs were rejected for their format, which a package may read."""
    if count := counts.get("rejects.unsupported_format"):
        _log.warning(
            "%s: photographs in formats that are not read here: %s; %s says which, and what to do",
            *(plan.inputs[0].uri, f"{count:,}", storage.join(plan.uri, "rejects")),
        )


@contextmanager
def _naming(rows: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Let an error say which images the shard was at."""
    try:
        yield
    except Exception as error:
        images = f"(at images {rows[0]['image_id']} to {rows[-1]['image_id']})"
        if isinstance(error, FacenetError):
            error.args = (f"{error} {images}",)
            raise
        raise ShardError(f"{type(error).__name__}: {error} {images}") from error


def _part_names(number: int) -> tuple[str, str]:
    return f"crops/{parquet.part_name(number)}", f"rejects/{parquet.part_name(number)}"


def _summarise(plan: Plan, raw_part: str, number: int) -> ShardSummary:
    """Count the rows of the shard's parts, which an earlier run may have written."""
    crops_name, rejects_name = _part_names(number)
    cropped = parquet.read_table(storage.join(plan.uri, crops_name), ["image_id"])["image_id"]
    reasons = parquet.read_table(storage.join(plan.uri, rejects_name), ["reason"])["reason"]
    rejected = Counter(reasons.to_pylist())
    redacted = deny_list.count_left_out(plan, raw_part)
    count = parquet.count_rows(raw_part) - redacted
    _close(raw_part, count, len(cropped.unique()), sum(rejected.values()))
    parts = (
        parquet.describe_part(plan.uri, crops_name),
        parquet.describe_part(plan.uri, rejects_name),
    )
    reasons_counted = dict(sorted(rejected.items()))
    return ShardSummary(number, count, len(cropped), reasons_counted, parts, redacted)


def _close(uri: str, images_in: int, aligned: int, rejected: int) -> None:
    if images_in != aligned + rejected:
        raise AccountingError(
            f"{uri}: {images_in} images went in, {aligned} came out as crops and {rejected} as "
            "rejects; please report this with the shard"
        )
