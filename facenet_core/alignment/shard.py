"""Align: raw shards become crop shards, one for one.

plan = plan_align(root, raw_uri, config)
parts = enumerate(raw_parts(raw_uri))
summaries = [align_shard(plan, part, number, config) for number, part in parts]
finish(plan, raw_uri, summaries, run)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from facenet_core import records, storage
from facenet_core.alignment import crops, images
from facenet_core.alignment.mtcnn import MTCNN, Detections
from facenet_core.config import AlignConfig
from facenet_core.errors import AccountingError
from facenet_core.storage import Input, Manifest, Part, Plan

STAGE_FORMAT = 1


@dataclass(frozen=True)
class ShardSummary:
    """What became of one raw shard. `rejected` counts images by reason."""

    number: int
    images: int
    faces: int
    rejected: Mapping[str, int]
    parts: tuple[Part, Part]


def plan_align(root: str, raw_uri: str, config: AlignConfig) -> Plan:
    """Where the crops of a raw artifact belong.

    Raises:
        ArtifactError: `raw_uri` is not a finished raw artifact.
    """
    raw = storage.open_artifact(raw_uri, "ingest")
    given = Input(raw_uri, raw.fingerprint)
    return storage.plan_stage(root, "align", raw.name, config.determining(), [given], STAGE_FORMAT)


def raw_parts(raw_uri: str) -> list[str]:
    """URIs of the raw shards, in order; crop shard i is made of the i-th."""
    manifest = storage.open_artifact(raw_uri, "ingest")
    return records.part_uris(raw_uri, "images", manifest.parts)


def align_shard(plan: Plan, raw_part: str, number: int, config: AlignConfig) -> ShardSummary:
    """Detect and crop the faces of one raw shard, unless that was done before.

    The rejects are written first; the crops commit the shard. One row group of images is in memory
    at a time, and is one batch of the detector: the result depends on nothing but the shard.

    Raises:
        AccountingError: images went in that came out neither as crops nor as rejects.
    """
    crops_uri, rejects_uri = (storage.join(plan.uri, name) for name in _part_names(number))
    if not all(records.part_is_current(u, plan.fingerprint) for u in (crops_uri, rejects_uri)):
        detector = _detector(config.minsize, config.thresholds, config.factor)
        with (
            records.PartWriter(crops_uri, records.CROPS, plan.fingerprint) as crop_rows,
            records.PartWriter(rejects_uri, records.REJECTS, plan.fingerprint) as reject_rows,
        ):
            for group in records.read_row_groups(raw_part, ["image_id", "identity", "image"]):
                for row in _align(group, detector, config):
                    (reject_rows if "reason" in row else crop_rows).write(row)
    return _summarise(plan, raw_part, number)


def finish(
    plan: Plan, raw_uri: str, summaries: Sequence[ShardSummary], run: Mapping[str, Any]
) -> Manifest:
    """Check that the sum closes over all shards, and publish the manifest.

    Raises:
        AccountingError: it does not close.
    """
    images = storage.open_artifact(raw_uri, "ingest").counts["images"]
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
    _close(plan.uri, images, counts["aligned"], counts["rejects"])
    parts = [part for summary in summaries for part in summary.parts]
    return storage.publish(plan, parts, counts, run)


def _part_names(number: int) -> tuple[str, str]:
    return f"crops/{records.part_name(number)}", f"rejects/{records.part_name(number)}"


@lru_cache(maxsize=1)
def _detector(
    minsize: int, thresholds: tuple[float, float, float], factor: float
) -> MTCNN:  # loading takes seconds: once for each process
    return MTCNN(minsize=minsize, thresholds=thresholds, factor=factor, threads=1)


def _align(group: pa.Table, detector: MTCNN, config: AlignConfig) -> Iterator[dict[str, Any]]:
    """Rows of crops and rejects (those have a `reason`) of a row group, in its order."""
    rows = group.to_pylist()
    decoded: list[np.ndarray | images.UndecodableImage] = []
    for row in rows:
        try:
            decoded.append(
                images.decode(
                    row["image"]["bytes"],
                    exif=config.exif,
                    max_pixels=config.max_pixels,
                    tolerate_truncated=config.tolerate_truncated,
                )
            )
        except images.UndecodableImage as problem:
            decoded.append(problem)
    found = iter(detector.detect([image for image in decoded if isinstance(image, np.ndarray)]))
    for row, image in zip(rows, decoded, strict=True):
        key = {"image_id": row["image_id"], "identity": row["identity"]}
        if isinstance(image, images.UndecodableImage):
            yield {**key, "reason": image.reason, "detail": image.detail}
            continue
        faces = next(found)
        if not len(faces):
            height, width = image.shape[:2]
            yield {**key, "reason": "no_face", "detail": f"none found in {width}x{height} pixels"}
            continue
        for index, face in enumerate(_chosen(faces, image, config)):
            yield {**key, "face_index": index, **_crop(image, faces, face, row, config)}


def _chosen(faces: Detections, image: np.ndarray, config: AlignConfig) -> list[int]:
    """Numbers of the faces to crop: first the one of the single-face rule, then by score."""
    first = crops.choose_face(faces.boxes, image.shape)
    if not config.detect_multiple_faces:
        return [first]
    return [first, *(face for face in range(len(faces)) if face != first)]


def _crop(
    image: np.ndarray, faces: Detections, face: int, row: dict[str, Any], config: AlignConfig
) -> dict[str, Any]:
    pixels = crops.crop(image, faces.boxes[face], config.image_size, config.margin)
    return {
        "image": {
            "bytes": images.encode(pixels, config.image_format, config.jpeg_quality),
            "path": row["image_id"],
        },
        "box": faces.boxes[face].tolist(),
        "landmarks": faces.landmarks[face].tolist(),
        "score": float(faces.scores[face]),
    }


def _summarise(plan: Plan, raw_part: str, number: int) -> ShardSummary:
    """Count what is in the shard's parts, whoever wrote them."""
    crops_name, rejects_name = _part_names(number)
    cropped = records.read_table(storage.join(plan.uri, crops_name), ["image_id"])["image_id"]
    reasons = records.read_table(storage.join(plan.uri, rejects_name), ["reason"])["reason"]
    rejected = Counter(reasons.to_pylist())
    count = records.count_rows(raw_part)
    _close(raw_part, count, len(cropped.unique()), sum(rejected.values()))
    parts = (
        records.describe_part(plan.uri, crops_name),
        records.describe_part(plan.uri, rejects_name),
    )
    return ShardSummary(number, count, len(cropped), dict(sorted(rejected.items())), parts)


def _close(place: str, images_in: int, aligned: int, rejected: int) -> None:
    if images_in != aligned + rejected:
        raise AccountingError(
            f"{place}: {images_in} images went in, {aligned} came out as crops and {rejected} as "
            "rejects; please report this with the shard"
        )
