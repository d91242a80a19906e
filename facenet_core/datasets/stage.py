"""Ingest: a source of photographs becomes raw shards.

files = locate(root, config).files                 # to be fetched first; see fetch/download.py
plan = plan_ingest(root, config)                   # reads the source, writes nothing
outcome = stream(root, plan, config)               # any source, in one pass; for synthetic faces:
outcome = join_shards(plan, [draw_shard(plan, number) for number in range(shards)])
manifest = finish(plan, outcome, run)              # publishes the artifact
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from facenet_core import storage
from facenet_core.config import SYNTHETIC, IngestConfig
from facenet_core.datasets.fetch.locate import Origin, locate
from facenet_core.datasets.members import Fingerprint, Limits, Member, Source
from facenet_core.datasets.rows import (
    DUPLICATE_CONTENT,
    HARMLESS,
    Redacted,
    RowMaker,
    RowRules,
    Skip,
    compile_identity_pattern,
)
from facenet_core.datasets.sources import nested
from facenet_core.datasets.sources.archive import Archive
from facenet_core.datasets.sources.parquet import ParquetFiles
from facenet_core.datasets.sources.recognise import recognise
from facenet_core.errors import AccountingError, SourceError
from facenet_core.fetch.partial_file import Stored, stored
from facenet_core.imaging.formats import EXTENSIONS
from facenet_core.privacy import deny_list
from facenet_core.privacy.deny_list import REDACTED
from facenet_core.progress import Progress, silent
from facenet_core.runtime import keep_freed_memory
from facenet_core.storage import Input, Manifest, Outcome, Part, Plan, parquet, schemas

_log = logging.getLogger(__name__)

STAGE_FORMAT = 2
SHARD_BYTES = 32 * 2**20
FEWEST_SHARDS, MOST_SHARDS = 16, 256
_SYNTHETIC_FIELDS = ("identities", "images_per_identity", "first_identity", "seed")
_DETERMINING = ("max_image_bytes", "max_image_pixels", "max_ratio", "drop_duplicates")
_TOTAL_BASE, _TOTAL_FACTOR = 16 * 2**30, 20
SKIPPED_ROWS = 4096  # of a row group; they hold no pictures


def plan_ingest(root: str, config: IngestConfig) -> Plan:
    """Plan the raw shards of a source. Reads the whole source once, to fingerprint it.

    Raises:
        SourceError: there is no such source, or its kind is unknown.
    """
    config.warn_of_unused()
    if config.source == SYNTHETIC:
        images = config.identities * config.images_per_identity
        shards = _shards(config, images / 100)
        resolved = {key: getattr(config, key) for key in _SYNTHETIC_FIELDS}
        source_input = Input(SYNTHETIC, SYNTHETIC)
        name = config.name or SYNTHETIC
        resolved["shards"] = min(shards, images)
    else:
        compile_identity_pattern(config.identity_pattern)
        origin = locate(root, config)
        _require_outside(root, origin.uri)
        source = recognise(origin.uri, config)
        if not isinstance(source, ParquetFiles):
            columns = dict.fromkeys(("image_column", "identity_column"), "the source is no Parquet")
            config.warn_of_unused(columns)
        content = _fingerprint(source, origin)
        source_input = Input(origin.public_uri, content.sha256)
        name = origin.name
        shards = _shards(config, content.bytes / SHARD_BYTES)
        resolved = {
            "name": name,
            "shards": shards,
            "shard_bytes": math.ceil(content.bytes / shards) or 1,
            **{key: getattr(config, key) for key in _DETERMINING},
        }
        for key in ("image_column", "identity_column"):
            if getattr(config, key) is not None:
                resolved[key] = getattr(config, key)
        if origin.identity_pattern is not None:
            resolved["identity_pattern"] = origin.identity_pattern
    return deny_list.plan_stage(root, "ingest", name, resolved, [source_input], STAGE_FORMAT)


def stream(root: str, plan: Plan, config: IngestConfig, progress: Progress = silent) -> Outcome:
    """Write the raw shards of a source in one pass over it.

    A shard ends with the image that fills it, so shards depend on the source alone. Shards that an
    earlier, interrupted pass wrote are not written again.

    Args:
        progress: called with the number of images so far.

    Raises:
        SourceError: the source is damaged, over a limit, or holds no image; with `strict`, also
            where anything but a file that is no image would be skipped.
    """
    origin = locate(root, config)
    source = recognise(origin.uri, config)
    content = _fingerprint(source, origin)
    _require_unchanged(content, plan, origin)
    maker = RowMaker(
        RowRules(
            plan.name,
            source.wrapped,
            config.max_image_pixels,
            config.drop_duplicates,
            plan.config.get("identity_pattern"),
            deny_list.of_plan(plan).covers,
        )
    )
    counts: Counter[str] = Counter(seen=0, images=0, bytes=0, skipped=0)
    skipped = f"skipped/{parquet.part_name(0)}"

    def count_rows(table: parquet.PartWriter) -> Generator[dict[str, Any] | Redacted, None, None]:
        """Count every row, and write those that are skipped to `table`."""
        for row in maker.rows(nested.items(source, origin.public_uri, _limits(config, content))):
            counts["seen"] += 1
            if counts["seen"] > config.max_members:
                raise _too_many(origin.public_uri, config)
            if isinstance(row, Redacted):
                counts[REDACTED] += 1
                yield row
                continue
            if isinstance(row, Skip):
                counts["skipped"] += 1
                counts[f"skipped.{row.reason}"] += 1
                _refuse_if_strict(config, origin.public_uri, row)
                table.write({"path": row.path, "reason": row.reason, "detail": row.detail})
                continue
            counts["images"] += 1
            counts["bytes"] += len(row["image"]["bytes"])
            progress(counts["images"], None)
            yield row

    uri = storage.join(plan.uri, skipped)
    with (
        parquet.PartWriter(uri, schemas.SKIPPED, plan.fingerprint, SKIPPED_ROWS) as table,
        closing(count_rows(table)) as rows,  # else a source's child process survives an error here
    ):
        names = _write_shards(plan, rows)
    if not counts["images"] and not counts.get(REDACTED):
        raise SourceError(
            f"{origin.public_uri}: no images among {counts['seen']} files; expected a layout such "
            f"as Name/Name_0001.jpg, with one of {' '.join(sorted(EXTENSIONS))}"
        )
    _require_unchanged(_fingerprint(source, origin), plan, origin)
    counts["identities"] = maker.identities
    counts["duplicates"] = maker.duplicates
    counts.update(maker.formats)
    parts = tuple(parquet.describe_part(plan.uri, name) for name in (*names, skipped))
    if counts["seen"] != sum(part.rows for part in parts) + counts.get(REDACTED, 0):
        raise AccountingError(
            f"{plan.uri}: {counts['seen']} files were read, and not all of them are in its parts"
        )
    return Outcome(parts, dict(counts))


def draw_shard(plan: Plan, number: int) -> Part:
    """Draw one shard of synthetic faces, unless it is there already."""
    from facenet_core.synthetic_faces import generate

    name = f"images/{parquet.part_name(number)}"
    uri = storage.join(plan.uri, name)
    if not parquet.part_is_current(uri, plan.fingerprint):
        keep_freed_memory()
        config = plan.config
        images = config["identities"] * config["images_per_identity"]
        faces = generate.members(
            config["seed"],
            config["identities"],
            config["images_per_identity"],
            first_identity=config["first_identity"],
            start=images * number // config["shards"],
            stop=images * (number + 1) // config["shards"],
        )
        is_forgotten = deny_list.of_plan(plan).covers
        rules = RowRules(plan.name, wrapped=False, max_pixels=2**62, forgotten=is_forgotten)
        maker = RowMaker(rules)
        with parquet.PartWriter(uri, schemas.RAW, plan.fingerprint) as writer:
            for row in maker.rows(Member(image_id, data) for image_id, _, data in faces):
                if isinstance(row, dict):
                    writer.write(row)
    return parquet.describe_part(plan.uri, name)


def join_shards(plan: Plan, parts: Sequence[Part]) -> Outcome:
    """The outcome of synthetic faces, once every shard is drawn."""
    from facenet_core.synthetic_faces.generate import identity_name

    name = f"skipped/{parquet.part_name(0)}"
    with parquet.PartWriter(storage.join(plan.uri, name), schemas.SKIPPED, plan.fingerprint):
        pass
    images = sum(part.rows for part in parts)
    first, people = plan.config["first_identity"], plan.config["identities"]
    is_forgotten = deny_list.of_plan(plan).covers
    people -= sum(is_forgotten(identity_name(first + number)) for number in range(people))
    seen = plan.config["identities"] * plan.config["images_per_identity"]
    expected = people * plan.config["images_per_identity"]
    if images != expected:
        raise AccountingError(f"{plan.uri}: {images} faces were drawn of {expected}")
    counts = {
        "seen": seen,
        "images": images,
        "bytes": sum(part.bytes for part in parts),
        "identities": people,
        "skipped": 0,
    }
    if seen != images:
        counts[REDACTED] = seen - images
    return Outcome((*parts, parquet.describe_part(plan.uri, name)), counts)


def finish(
    plan: Plan, outcome: Outcome, run: Mapping[str, Any], files: Sequence[Stored] = ()
) -> Manifest:
    """Publish the artifact by its manifest.

    Args:
        files: the downloads it was made from, for the manifest.

    Raises:
        ArtifactError: a person was forgotten in the meantime, or a part is missing.
    """
    deny_list.of_plan(plan)
    downloads = [
        {"url": file.url, "bytes": file.bytes, "sha256": file.sha256, "uri": file.uri}
        for file in files
    ]
    details = {"files": downloads} if files else {}
    return storage.publish(plan, replace(outcome, details=details), run)


def check_accepted(source: str, counts: Mapping[str, int], config: IngestConfig) -> None:
    """Check an artifact made earlier against limits that are not part of its fingerprint.

    Raises:
        SourceError: `strict`, and members were skipped; or there are more than `max_members`.
    """
    if counts["seen"] > config.max_members:
        raise _too_many(source, config)
    reasons = [
        name.removeprefix("skipped.")
        for name, count in counts.items()
        if count and name.startswith("skipped.") and name.partition(".")[2] not in HARMLESS
    ]
    if config.strict and reasons:
        raise SourceError(
            f"{source}: refused: members were skipped when it was ingested "
            f"({', '.join(sorted(reasons))}); without --strict the rest is taken"
        )


def warn_of_skipped(plan: Plan, counts: Mapping[str, int]) -> None:
    """Log how many files that may be images were skipped, and why."""
    reasons = {
        reason: count
        for name, count in counts.items()
        if count and name.startswith("skipped.")
        if (reason := name.removeprefix("skipped.")) not in {*HARMLESS, DUPLICATE_CONTENT}
    }
    if reasons:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        table = storage.join(plan.uri, "skipped")
        _log.warning(
            "%s: %s of %s files were left out (%s); %s lists them",
            *(plan.inputs[0].uri, f"{sum(reasons.values()):,}", f"{counts['seen']:,}"),
            *(listed, table),
        )


def _fingerprint(source: Source, origin: Origin) -> Fingerprint:
    """A download in object storage keeps the digest noted when it came: a second read is slow."""
    if origin.files and isinstance(source, Archive) and not storage.is_local(origin.uri):
        note = stored(origin.files[0])
        if note is not None:
            return Fingerprint(note.sha256, note.bytes)
    return source.fingerprint()


def _require_unchanged(content: Fingerprint, plan: Plan, origin: Origin) -> None:
    if content.sha256 != plan.inputs[0].fingerprint:
        raise SourceError(
            f"{origin.public_uri}: changed while it was read; run again when it is whole"
        )


def _write_shards(plan: Plan, rows: Iterable[dict[str, Any] | Redacted]) -> list[str]:
    """Write rows to `images/part-…`, a new part whenever one is full.

    Redacted rows count towards the size of a part, so that parts end where they did before.
    """
    names: list[str] = []
    filled = 0
    writer: parquet.PartWriter | None = None
    with ExitStack() as current:
        for row in rows:
            size = row.bytes if isinstance(row, Redacted) else len(row["image"]["bytes"])
            if not size:
                continue  # of a file that would not become a row
            if not filled:
                names.append(f"images/{parquet.part_name(len(names))}")
                uri = storage.join(plan.uri, names[-1])
                writer = None
                if not parquet.part_is_current(uri, plan.fingerprint):
                    part = parquet.PartWriter(uri, schemas.RAW, plan.fingerprint)
                    writer = current.enter_context(part)
            if writer is not None and not isinstance(row, Redacted):
                writer.write(row)
            filled += size
            if filled >= _capacity(plan.config, len(names)):
                current.close()  # publishes the part
                filled = 0
    return names


def _capacity(config: Mapping[str, Any], number: int) -> int:
    """Bytes of images after which shard `number`, from 1, is full.

    A source that unpacks to more than its size would give more shards than planned; those beyond
    the planned number hold more and more, so that they stay few.
    """
    beyond = max(0, number - config["shards"])
    doublings = math.ceil(beyond / max(1, config["shards"] // 4))
    return int(config["shard_bytes"] * 2 ** min(doublings, 40))


def _limits(config: IngestConfig, content: Fingerprint) -> Limits:
    total = config.max_total_bytes
    if total == "auto":
        total = _TOTAL_BASE + _TOTAL_FACTOR * content.bytes
    return Limits(config.max_image_bytes, total, config.max_ratio)


def _too_many(source: str, config: IngestConfig) -> SourceError:
    return SourceError(
        f"{source}: more than {config.max_members:,} files; if that is right, allow more with "
        "--max-members"
    )


def _refuse_if_strict(config: IngestConfig, source: str, skip: Skip) -> None:
    if config.strict and skip.reason not in HARMLESS:
        raise SourceError(
            f"{source}: refused for {skip.path!r}: {skip.reason}, {skip.detail}; without --strict "
            "it is skipped, and the rest taken"
        )


def _shards(config: IngestConfig, estimate: float) -> int:
    if config.shards != "auto":
        return config.shards
    return min(max(math.ceil(estimate), FEWEST_SHARDS), MOST_SHARDS)


def _require_outside(root: str, source: str) -> None:
    """Refuse a storage root inside the source: ingesting it would change the source."""
    if "://" in source and "://" in root:
        inside = f"{storage.absolute(root)}/".startswith(f"{storage.absolute(source)}/")
    else:
        inside = (
            Path(source).is_dir()
            and storage.is_local(root)
            and Path(storage.file_system(root)[1]).resolve().is_relative_to(Path(source).resolve())
        )
    if inside:
        raise SourceError(
            f"{source}: the storage root {root} lies inside it; choose another with --storage"
        )
