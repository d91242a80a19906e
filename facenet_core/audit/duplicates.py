"""The same photograph again: by the SHA-256 of the files, and by thumbnails and embeddings."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from facenet_core import storage
from facenet_core.audit.faces import Faces
from facenet_core.audit.findings import Finding, Limits, severity
from facenet_core.audit.neighbours import Neighbours, nearest, nearest_others
from facenet_core.audit.thumbnails import correlation, mirrored
from facenet_core.config import AuditConfig
from facenet_core.errors import ArtifactError
from facenet_core.storage import Artifact, parquet

logger = logging.getLogger(__name__)

# Thumbnails less alike than this are not even compared closely.
_LEAST = 0.5
_SAME_FILE = 2.0  # in place of a correlation


@dataclass(frozen=True)
class Photographs:
    """What the photographs of faces look like.

    Attributes:
        thumbnails: float32 [n, …], from `thumbnails.read_thumbnails`.
        digests: str objects [n], SHA-256 of the files; empty where they are not known.
    """

    thumbnails: np.ndarray
    digests: np.ndarray


@dataclass(frozen=True)
class Copy:
    """Two rows that show the same photograph, and how alike they are: up to 1, 2 for one file."""

    first: int
    second: int
    alike: float
    mirrored: bool = False


def read_digests(crops: Artifact, faces: Faces) -> np.ndarray:
    """Str objects [n]: SHA-256 of each face's photograph, from the raw artifact of its crops.

    Empty where that artifact is gone or another one lies there now.
    """
    raw = storage.find_artifact(crops.inputs[0].uri)
    digests = np.full(len(faces), "", object)
    if raw is None or raw.stage != "ingest" or raw.fingerprint != crops.inputs[0].fingerprint:
        logger.warning(
            "%s: the photographs of these crops are not there, so that equal files are not told "
            "from similar ones",
            crops.inputs[0].uri,
        )
        return digests
    row_of = {image_id: row for row, image_id in enumerate(faces.image_ids.to_pylist())}
    for part in raw.part_uris("images"):
        try:
            table = parquet.read_table(part, ["image_id", "sha256"])
        except ArtifactError as error:
            logger.warning("%s", error)
            continue
        columns = (table["image_id"].to_pylist(), table["sha256"].to_pylist())
        for image_id, digest in zip(*columns, strict=True):
            if (row := row_of.get(image_id)) is not None:
                digests[row] = digest
    return digests


def copies_within(
    faces: Faces, photographs: Photographs, config: AuditConfig, limits: Limits
) -> list[Copy]:
    """Pairs of rows of one set that show the same photograph."""
    thumbnails = photographs.thumbnails
    rows_of: dict[str, list[int]] = {}
    for row, digest in enumerate(photographs.digests):
        if digest:
            rows_of.setdefault(digest, []).append(row)
    copies = [Copy(rows[0], row, _SAME_FILE) for rows in rows_of.values() for row in rows[1:]]
    k, exact = config.neighbours, config.exact_faces
    straight = nearest_others(thumbnails, k, exact=exact)
    copies += _alike(straight, False, thumbnails, thumbnails, faces, faces, config, limits)
    turned = nearest(thumbnails, thumbnails, k, exact=exact, change=mirrored)
    copies += _alike(turned, True, thumbnails, thumbnails, faces, faces, config, limits)
    return [copy for copy in copies if copy.first != copy.second]


def copies_of(
    faces: Faces,
    photographs: Photographs,
    others: Faces,
    theirs: Photographs,
    config: AuditConfig,
    limits: Limits,
) -> list[Copy]:
    """Pairs of a row of the first set and one of the second that show the same photograph."""
    row_of = {digest: row for row, digest in enumerate(theirs.digests) if digest}
    copies = [
        Copy(row, row_of[digest], _SAME_FILE)
        for row, digest in enumerate(photographs.digests)
        if digest in row_of
    ]
    a, b = photographs.thumbnails, theirs.thumbnails
    k, exact = config.neighbours, config.exact_faces
    for turned in (False, True):
        near = nearest(a, b, k, exact=exact, change=mirrored if turned else np.asarray)
        copies += _alike(near, turned, a, b, faces, others, config, limits)
    return copies


def _alike(
    near: Neighbours,
    turned: bool,
    a: np.ndarray,
    b: np.ndarray,
    faces: Faces,
    others: Faces,
    config: AuditConfig,
    limits: Limits,
) -> Iterator[Copy]:
    """Those of the neighbours that are the same photograph, by a closer look."""
    rows, columns = np.nonzero(near.products > _LEAST)
    for first, column in zip(rows, columns, strict=True):
        second = int(near.rows[first, column])
        cosine = float(faces.vectors[first] @ others.vectors[second])
        apart = np.sqrt(max(2 - 2 * cosine, 0.0))
        if apart > limits.far:
            continue
        query = mirrored(a[first : first + 1])[0] if turned else a[first]
        alike = correlation(query, b[second])
        if alike >= _least_alike(config.duplicate_correlation, apart, turned, limits):
            yield Copy(int(first), second, alike, turned)


def _least_alike(usual: float, apart: float, turned: bool, limits: Limits) -> float:
    """The correlation of thumbnails from which on faces so far apart are of one photograph.

    The crops of a photograph in two sizes have other margins, so that their embeddings may be those
    of two people. The landmarks of a mirrored face are off, so that its thumbnail is a little
    shifted or turned, but its embedding hardly differs.
    """
    if apart >= limits.same:
        return usual + (1 - usual) / 3
    return usual - (1 - usual) if turned and apart < limits.nearly_equal else usual


def duplicate_findings(
    faces: Faces, copies: list[Copy], wrong: Collection[int], least: float
) -> list[Finding]:
    """All copies of a photograph but one.

    The one that stays has nothing else wrong with it, if there is such a one.

    Args:
        wrong: rows that other findings name.
        least: correlation from which on they count as copies.
    """
    group_of: dict[int, set[int]] = {}
    best: dict[int, Copy] = {}
    for copy in copies:
        group = group_of.get(copy.first, {copy.first}) | group_of.get(copy.second, {copy.second})
        for row in group:
            group_of[row] = group
        for row in (copy.first, copy.second):
            if row not in best or copy.alike > best[row].alike:
                best[row] = copy
    findings = []
    for group in {id(group): group for group in group_of.values()}.values():
        original = min(group, key=lambda row: (row in wrong, row))
        for row in sorted(group - {original}):
            copy = best[row]
            apart = float(np.linalg.norm(faces.vectors[row] - faces.vectors[original]))
            beyond = severity(min(copy.alike, 1.0) - least, 1 - least)
            reason = f"the same photograph as {faces.image_id(original)}: {how(copy)}"
            findings.append(Finding("duplicate", row, original, apart, beyond, reason))
    return findings


def how(copy: Copy) -> str:
    """In words, by what two photographs are known to be the same."""
    if copy.alike == _SAME_FILE:
        return "the same file"
    turned = "mirrored, " if copy.mirrored else ""
    return f"{turned}thumbnails correlate by {copy.alike:.3f}"
