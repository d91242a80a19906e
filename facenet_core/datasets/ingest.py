"""Ingest: a source of photographs becomes raw shards.

plan = plan_ingest(root, config)      # looks at the source, writes nothing
parts = stream(plan, config)          # a folder or an archive, in one pass; or
part = draw_shard(plan, number)       # synthetic faces, any shard on its own
finish(plan, ...)                     # the manifest: now it is there
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facenet_core import records, storage
from facenet_core.config import SYNTHETIC, IngestConfig
from facenet_core.datasets import archives, folders
from facenet_core.datasets.members import EXTENSIONS, Member, Skip, Unreadable, raw_rows
from facenet_core.errors import AccountingError, SourceError
from facenet_core.progress import Progress, silent
from facenet_core.storage import Input, Manifest, Part, Plan

STAGE_FORMAT = 1
SHARD_BYTES = 32 * 2**20
FEWEST_SHARDS, MOST_SHARDS = 16, 256
_SYNTHETIC_FIELDS = ("identities", "images_per_identity", "first_identity", "seed")


@dataclass(frozen=True)
class Written:
    """What a pass over a source made."""

    parts: tuple[Part, ...]
    counts: Mapping[str, int]


def plan_ingest(root: str, config: IngestConfig) -> Plan:
    """Where the raw shards of a source belong. Reads the whole source once, to fingerprint it.

    Raises:
        SourceError: there is no such source, or it is neither a folder nor an archive.
    """
    if config.source == SYNTHETIC:
        images = config.identities * config.images_per_identity
        shards = _shards(config, images / 100)
        resolved = {key: getattr(config, key) for key in _SYNTHETIC_FIELDS}
        given = Input(SYNTHETIC, SYNTHETIC)
        name = config.name or SYNTHETIC
        resolved["shards"] = min(shards, images)
    else:
        _require_outside(root, config.source)
        given, source_bytes = _fingerprint_source(config.source)
        name = config.name or _name(config.source)
        resolved = {
            "name": name,
            "max_image_bytes": config.max_image_bytes,
            "shard_bytes": math.ceil(source_bytes / _shards(config, source_bytes / SHARD_BYTES)),
        }
    return storage.plan_stage(root, "ingest", name, resolved, [given], STAGE_FORMAT)


def stream(plan: Plan, config: IngestConfig, progress: Progress = silent) -> Written:
    """Write the raw shards of a folder or archive in one pass over it.

    A shard ends with the image that fills it, so shards depend on the source alone; those that an
    earlier, interrupted pass has written stay as they are.

    Raises:
        SourceError: the source is damaged, or holds no image.
    """
    skipped: list[Skip] = []
    counts = {"seen": 0, "images": 0, "bytes": 0}
    identities: set[str] = set()

    def taken() -> Iterator[dict[str, Any]]:
        archive = not Path(config.source).is_dir()
        rows = raw_rows(_members(config), plan.name, depth=3 if archive else 0)
        for row in rows:
            counts["seen"] += 1
            if isinstance(row, Skip):
                skipped.append(row)
                continue
            counts["images"] += 1
            counts["bytes"] += len(row["image"]["bytes"])
            identities.add(row["identity"])
            progress(counts["images"], None)
            yield row

    names = _write_shards(plan, taken(), plan.config["shard_bytes"])
    if not counts["images"]:
        raise SourceError(
            f"{config.source}: no images among {counts['seen']} files; expected a layout such as "
            f"Name/Name_0001.jpg, with one of {' '.join(sorted(EXTENSIONS))}"
        )
    if _fingerprint_source(config.source)[0].fingerprint != plan.inputs[0].fingerprint:
        storage.remove(plan.uri)
        raise SourceError(f"{config.source}: changed while it was read; run again when it is whole")
    names.append(_write_skipped(plan, skipped))
    parts = tuple(records.describe_part(plan.uri, name) for name in names)
    return Written(parts, {**counts, "skipped": len(skipped), "identities": len(identities)})


def draw_shard(plan: Plan, number: int) -> Part:
    """Draw one shard of synthetic faces, unless it is there already."""
    from facenet_core.datasets import synthetic

    name = f"images/{records.part_name(number)}"
    uri = storage.join(plan.uri, name)
    if not records.part_is_current(uri, plan.fingerprint):
        config = plan.config
        images = config["identities"] * config["images_per_identity"]
        faces = synthetic.members(
            config["seed"],
            config["identities"],
            config["images_per_identity"],
            first_identity=config["first_identity"],
            start=images * number // config["shards"],
            stop=images * (number + 1) // config["shards"],
        )
        members = (Member(image_id, data) for image_id, _, data in faces)
        with records.PartWriter(uri, records.RAW, plan.fingerprint) as writer:
            for row in raw_rows(members, plan.name, depth=0):
                assert isinstance(row, dict)  # what is drawn here is an image
                writer.write(row)
    return records.describe_part(plan.uri, name)


def drawn(plan: Plan, parts: Sequence[Part]) -> Written:
    """All shards of synthetic faces, once each is drawn."""
    skipped = records.describe_part(plan.uri, _write_skipped(plan, []))
    images = sum(part.rows for part in parts)
    expected = plan.config["identities"] * plan.config["images_per_identity"]
    if images != expected:
        raise AccountingError(f"{plan.uri}: {images} faces were drawn of {expected}")
    counts = {
        "seen": images,
        "images": images,
        "bytes": sum(part.bytes for part in parts),
        "identities": plan.config["identities"],
        "skipped": 0,
    }
    return Written((*parts, skipped), counts)


def finish(plan: Plan, written: Written, run: Mapping[str, Any]) -> Manifest:
    """Publish the manifest: the artifact is there."""
    return storage.publish(plan, written.parts, written.counts, run)


def _members(config: IngestConfig) -> Iterator[Member | Unreadable]:
    if Path(config.source).is_dir():
        return folders.members(Path(config.source), config.max_image_bytes)
    return archives.members(config.source, config.max_image_bytes)


def _write_shards(plan: Plan, rows: Iterable[dict[str, Any]], shard_bytes: int) -> list[str]:
    """Write rows to `images/part-…`, a new part whenever one holds `shard_bytes` of images."""
    names: list[str] = []
    filled = 0
    writer: records.PartWriter | None = None
    with ExitStack() as current:
        for row in rows:
            if not filled:
                names.append(f"images/{records.part_name(len(names))}")
                uri = storage.join(plan.uri, names[-1])
                writer = None
                if not records.part_is_current(uri, plan.fingerprint):
                    part = records.PartWriter(uri, records.RAW, plan.fingerprint)
                    writer = current.enter_context(part)
            if writer is not None:
                writer.write(row)
            filled += len(row["image"]["bytes"])
            if filled >= shard_bytes:
                current.close()  # publishes the part
                filled = 0
    return names


def _write_skipped(plan: Plan, skipped: Sequence[Skip]) -> str:
    name = f"skipped/{records.part_name(0)}"
    uri = storage.join(plan.uri, name)
    with records.PartWriter(uri, records.SKIPPED, plan.fingerprint) as writer:
        for skip in skipped:
            writer.write({"path": skip.path, "reason": skip.reason, "detail": skip.detail})
    return name


def _shards(config: IngestConfig, wanted: float) -> int:
    if config.shards != "auto":
        return config.shards
    return min(max(math.ceil(wanted), FEWEST_SHARDS), MOST_SHARDS)


def _require_outside(root: str, source: str) -> None:
    """A root inside the source would be ingested with it, and change it."""
    folder = Path(source)
    if folder.is_dir() and storage.is_local(root):
        place = Path(storage.file_system(root)[1]).resolve()
        if place.is_relative_to(folder.resolve()):
            raise SourceError(
                f"{source}: the storage root {root} lies inside it; choose another with --storage"
            )


def _fingerprint_source(source: str) -> tuple[Input, int]:
    """The source as a stage's input, and its size in bytes."""
    path = Path(source)
    if path.is_dir():
        listing = folders.fingerprint(path)
        if not listing.files:
            raise SourceError(f"{source}: the folder is empty; expected Name/Name_0001.jpg in it")
        return Input(storage.absolute(source), listing.sha256), listing.bytes
    found = storage.size(source)
    if found is None:
        raise SourceError(
            f"{source}: no such folder or archive; expected one of those, or `{SYNTHETIC}`"
        )
    if not archives.is_archive(source):
        raise SourceError(
            f"{source}: neither a folder nor an archive (.tar, .tgz, .tar.bz2, .tar.xz, .zip)"
        )
    sha256 = folders.file_sha256(path) if path.is_file() else storage.sha256(source)
    return Input(storage.absolute(source), sha256), max(found, 1)


def _name(source: str) -> str:
    """A data set's name from its source: `/data/lfw.tar.gz` is `lfw`."""
    name = Path(source.rstrip("/")).absolute().name
    for _ in range(2):
        stem, dot, extension = name.rpartition(".")
        if dot and extension.lower() in ("tar", "gz", "tgz", "bz2", "tbz2", "xz", "txz", "zip"):
            name = stem
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    return clean.strip(".-_") or "photographs"
