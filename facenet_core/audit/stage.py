"""Audit: embeddings of a set of faces become a list of what is wrong with it.

plan = plan_audit(root, embeddings_uri, config, against_uri)
outcome = audit(plan, config)
finish(plan, outcome, run)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.audit import duplicates, labels, leaks
from facenet_core.audit.duplicates import Photographs
from facenet_core.audit.faces import Faces, read_faces
from facenet_core.audit.findings import Finding, Limits, table
from facenet_core.audit.identities import Cores, find_cores
from facenet_core.audit.thumbnails import read_thumbnails
from facenet_core.config import AuditConfig, FindingKind
from facenet_core.embedding.artifact import model_of, open_crops
from facenet_core.errors import ConfigError
from facenet_core.recognition.cluster import DEFAULT_DISTANCE, SHARE_OF_THRESHOLD
from facenet_core.recognition.threshold import find_reports, validated_threshold
from facenet_core.storage import Artifact, Manifest, Outcome, Plan, parquet, schemas

STAGE_FORMAT = 3
KINDS: tuple[FindingKind, ...] = get_args(FindingKind)
FINDINGS, KEEP, REPORT = "findings.parquet", "keep.parquet", "report.html"
# For models that were not validated.
DEFAULT_THRESHOLD = round(DEFAULT_DISTANCE / SHARE_OF_THRESHOLD, 3)

Progress = Callable[[int, int], None]


def plan_audit(
    root: str, embeddings_uri: str, config: AuditConfig, against_uri: str | None = None
) -> Plan:
    """Plan the audit of an embeddings artifact.

    Args:
        against_uri: embeddings by the same model of the set that must not be in this one.

    Raises:
        ArtifactError: either is not a finished embeddings artifact, or the crops of one are gone.
        ConfigError: two models made them.
    """
    embeddings = storage.open_artifact(embeddings_uri, "embed")
    every = [embeddings]
    if against_uri is not None:
        every.append(storage.open_artifact(against_uri, "embed"))
        if model_of(every[0]).fingerprint != model_of(every[1]).fingerprint:
            raise ConfigError(
                f"against: {against_uri}: embedded with another model than {embeddings_uri}; "
                "embed both with one"
            )
    for one in every:
        open_crops(one)
    name = config.name or embeddings.name
    threshold, report = config.threshold, None
    if threshold is None:
        validated = validated_threshold(find_reports(root, model_of(embeddings).fingerprint))
        threshold, report = validated.distance or DEFAULT_THRESHOLD, validated.report
        if validated.use_flipped_images:
            threshold, report = DEFAULT_THRESHOLD, None  # of other embeddings than these
    resolved = config.determining() | {
        "name": name,
        "threshold": threshold,
        "validated_by": report,
    }
    inputs = [one.as_input() for one in every]
    return storage.plan_stage(root, "audit", name, resolved, inputs, STAGE_FORMAT)


def audit(plan: Plan, config: AuditConfig, *, progress: Progress | None = None) -> Outcome:
    """Look for all that is wrong, and write findings, what remains, and the report.

    Memory holds k neighbours of each face and the cores of the identities; embeddings and
    thumbnails lie in files of a temporary folder.

    Args:
        plan: from `plan_audit` with the same configuration.
        config: what to do.
        progress: called with the faces whose photographs were read, and their number.

    Raises:
        ArtifactError: embeddings or crops are damaged.
    """
    # Only now: plotting takes a second to load.
    from facenet_core.audit import page

    every = [storage.open_artifact(source.uri, "embed") for source in plan.inputs]
    crops = [open_crops(one) for one in every]
    limits = Limits(plan.config["threshold"])
    sets = [read_faces(one) for one in every]
    faces, against = sets[0], (sets[1] if len(sets) > 1 else None)
    total = sum(map(len, sets))
    photographs: list[Photographs] = []
    for number, one in enumerate(crops):
        before = sum(len(done) for done in sets[:number])
        photographs.append(_photographs(one, sets[number], before, total, progress))
    cores = find_cores(faces, limits.same)
    findings = find(faces, cores, photographs[0], config, limits)
    if against is not None:
        findings += find_leaks(
            faces, cores, photographs[0], against, photographs[1], config, limits
        )
    findings = ranked(findings)
    html = page.render(plan, config, faces, against, findings, crops, every)
    return _write(plan, crops[0], faces, against, findings, html)


def _photographs(
    crops: Artifact,
    faces: Faces,
    before: int,
    total: int,
    progress: Progress | None,
) -> Photographs:
    def report(done: int) -> None:
        if progress is not None:
            progress(before + done, total)

    thumbnails = read_thumbnails(crops, faces.image_ids, report)
    return Photographs(thumbnails, duplicates.read_digests(crops, faces))


def find(
    faces: Faces,
    cores: Cores,
    photographs: Photographs | None,
    config: AuditConfig,
    limits: Limits,
) -> list[Finding]:
    """What is wrong within a set; without photographs, no duplicates are looked for."""
    exact = config.exact_faces
    findings, person_of = labels.split_identities(faces, cores, limits, exact)
    wrong = labels.wrong_images(faces, cores, limits, person_of, exact)
    findings += wrong
    if photographs is not None:
        copies = duplicates.copies_within(faces, photographs, config, limits)
        rows = {finding.row for finding in wrong}
        findings += duplicates.duplicate_findings(faces, copies, rows, config.duplicate_correlation)
    return findings


def find_leaks(
    faces: Faces,
    cores: Cores,
    photographs: Photographs,
    against: Faces,
    theirs: Photographs,
    config: AuditConfig,
    limits: Limits,
) -> list[Finding]:
    """People and photographs of another set in this one; one finding an image."""
    other_cores = find_cores(against, limits.same)
    people = leaks.leaked_people(faces, cores, against, other_cores, limits, config.exact_faces)
    copies = duplicates.copies_of(faces, photographs, against, theirs, config, limits)
    same = leaks.leaked_photographs(faces, against, copies, config.duplicate_correlation)
    rows = {finding.row for finding in same}
    return same + [finding for finding in people if finding.row not in rows]


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Kind by kind, the most severe ones first."""
    return sorted(findings, key=lambda f: (KINDS.index(f.kind), -f.severity, f.row))


def finish(plan: Plan, outcome: Outcome, run: Mapping[str, Any]) -> Manifest:
    """Publish the audit."""
    return storage.publish(plan, outcome, run)


def _write(
    plan: Plan,
    crops: Artifact,
    faces: Faces,
    against: Faces | None,
    findings: Sequence[Finding],
    html: bytes,
) -> Outcome:
    if (published := storage.published(plan)) is not None:  # by a run beside this one
        return published
    remains = np.ones(len(faces), bool)
    remains[[finding.row for finding in findings]] = False
    rows = np.flatnonzero(remains).tolist()
    ids = faces.image_ids.take(pa.array(rows, pa.int64()))
    remaining = pa.table([ids, [faces.name(row) for row in rows]], schema=schemas.KEEP)
    tables = {FINDINGS: table(findings, faces, against), KEEP: remaining}
    parts = []
    for name, content in tables.items():
        parquet.write_table(storage.join(plan.uri, name), content, plan.fingerprint)
        parts.append(parquet.describe_part(plan.uri, name))
    storage.write_bytes(storage.join(plan.uri, REPORT), html)
    parts.append(storage.describe_file(plan.uri, REPORT))
    counts = {"images": len(faces), "identities": len(faces.names), "kept": len(rows)}
    counts |= {kind: sum(f.kind == kind for f in findings) for kind in KINDS}
    details = {key: plan.config[key] for key in ("threshold", "validated_by")}
    details["crops"] = crops.fingerprint
    return Outcome(tuple(parts), counts, details)
