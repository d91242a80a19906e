"""What a finished artifact holds: counts, people, and the artifacts that it was made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.storage import Artifact, Input, parquet

PICTURES = {"ingest": "images", "align": "crops"}  # folders of parts with pictures, by stage
TABLES = {**PICTURES, "embed": "embeddings"}  # folders of parts with identities
_EDGES = (1, 2, 3, 6, 11, 21, 51, 101, 201, 501, 1001)


@dataclass(frozen=True)
class Ancestor:
    """Something that an artifact was made from.

    Attributes:
        depth: 1 for its inputs, 2 for theirs.
        state: `whole`, `damaged`, `changed` (another content lies there now), `gone`, or `source`
            for what is no artifact.
    """

    depth: int
    uri: str
    fingerprint: str
    stage: str
    state: str


@dataclass(frozen=True)
class People:
    """Images per identity."""

    identities: int
    images: int
    fewest: int
    median: float
    most: int
    histogram: tuple[tuple[str, int], ...]
    largest: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Overview:
    """An artifact at a glance."""

    artifact: Artifact
    bytes: int
    damaged: tuple[str, ...]
    lineage: tuple[Ancestor, ...]
    people: People | None


def overview(uri: str) -> Overview:
    """Look at an artifact.

    Raises:
        ArtifactError: no finished artifact lies there.
    """
    artifact = storage.find_artifact(uri)
    if artifact is None:
        raise ArtifactError(
            f"{uri}: no finished artifact here (no {storage.MANIFEST}); expected the folder that a "
            "stage printed"
        )
    damaged = tuple(storage.damaged_parts(uri, artifact.manifest))
    return Overview(
        artifact,
        sum(part.bytes for part in artifact.parts),
        damaged,
        tuple(_ancestors(artifact.inputs, 1)),
        _people(artifact) if artifact.stage in TABLES and not damaged else None,
    )


def metrics(artifact: Artifact) -> Mapping[str, float]:
    """The numbers among an artifact's details, as a model or a report has them."""
    numbers: dict[str, float] = {}

    def collect(values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping):
                collect(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                numbers[name] = value

    collect(artifact.details)
    return numbers


def _ancestors(inputs: Iterable[Input], depth: int) -> list[Ancestor]:
    ancestors = []
    for source in inputs:
        above = _artifact(source.uri)
        if above is None:
            named = any(f"/{folder}/" in source.uri for folder in storage.STAGE_FOLDERS.values())
            state = "gone" if source.uri.endswith(source.fingerprint) and named else "source"
            ancestors.append(Ancestor(depth, source.uri, source.fingerprint, "", state))
            continue
        if above.fingerprint != source.fingerprint:
            state = "changed"
        else:
            state = "damaged" if storage.damaged_parts(source.uri, above.manifest) else "whole"
        ancestors.append(Ancestor(depth, source.uri, source.fingerprint, above.stage, state))
        ancestors += _ancestors(above.inputs, depth + 1)
    return ancestors


def _artifact(uri: str) -> Artifact | None:
    try:
        return storage.find_artifact(uri)
    except Exception:  # a source may be of any protocol, or name none
        return None


def _people(artifact: Artifact) -> People:
    """Count images, of crops and embeddings only the first face of each."""
    folder = TABLES[artifact.stage]
    columns = ["identity"] if folder == "images" else ["identity", "face_index"]
    counts: Counter[str] = Counter()
    for part in artifact.part_uris(folder):
        for group in parquet.read_row_groups(part, columns):
            if folder != "images":
                group = group.filter(pc.equal(group["face_index"], 0))
            for entry in pc.value_counts(group["identity"].combine_chunks()).to_pylist():
                counts[entry["values"]] += entry["counts"]
    numbers = sorted(counts.values())
    middle = len(numbers) // 2
    return People(
        len(numbers),
        sum(numbers),
        numbers[0] if numbers else 0,
        (numbers[middle] + numbers[~middle]) / 2 if numbers else 0.0,
        numbers[-1] if numbers else 0,
        _histogram(numbers),
        tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]),
    )


def _histogram(numbers: list[int]) -> tuple[tuple[str, int], ...]:
    """How many people have 1, 2, 3 to 5 … images, up to the most that anyone has."""
    rows = []
    for low, above in zip(_EDGES, (*_EDGES[1:], None), strict=True):
        if numbers and low > numbers[-1]:
            break
        label = (
            f"{low}+" if above is None else f"{low}–{above - 1}" if above - low > 1 else f"{low}"
        )
        within = sum(low <= number and (above is None or number < above) for number in numbers)
        rows.append((label, within))
    return tuple(rows)
