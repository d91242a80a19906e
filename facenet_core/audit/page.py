"""The report of an audit: counts, and the worst cases of each kind with their photographs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from facenet_core import storage
from facenet_core.audit.faces import Faces
from facenet_core.audit.findings import Finding
from facenet_core.config import AuditConfig, FindingKind, as_options
from facenet_core.evaluation.embeddings import read_crops
from facenet_core.evaluation.report.page import below_root, template
from facenet_core.evaluation.report.pictures import Thumbnail, data_uri
from facenet_core.storage import Artifact, Plan

SHOWN = 12  # of each kind

_TITLES: dict[FindingKind, tuple[str, str]] = {
    "duplicate": (
        "The same photograph again",
        "On the right the copy that stays: re-encoded, scaled and mirrored copies count, too.",
    ),
    "wrong_label": (
        "Wrong labels",
        "On the right whom the image looks like, or, where that is nobody, a typical image of the "
        "identity that it is filed under.",
    ),
    "mixed_identity": (
        "Two people under one name",
        "Images of the second person; on the right a typical image of the first.",
    ),
    "split_identity": (
        "One person under two names",
        "Images of the smaller identity; on the right a typical image of the larger one.",
    ),
    "no_face": (
        "No faces",
        "What passed for a face and looks like nobody; on the right a typical image of the "
        "identity that it is filed under.",
    ),
    "leak": (
        "In the other set, too",
        "On the right the photograph or the person in the set that this one is compared with.",
    ),
}


@dataclass(frozen=True)
class Case:
    """A finding with its photographs."""

    finding: Finding
    image: Thumbnail
    other: Thumbnail | None


@dataclass(frozen=True)
class Section:
    """The findings of a kind: how many images, of how many identities, and the worst of them.

    Attributes:
        complete: whether the cases are all that there are.
    """

    kind: FindingKind
    title: str
    note: str
    images: int
    identities: int
    complete: bool
    cases: Sequence[Case]


def render(
    plan: Plan,
    config: AuditConfig,
    faces: Faces,
    against: Faces | None,
    findings: Sequence[Finding],
    crops: Sequence[Artifact],
    embeddings: Sequence[Artifact],
) -> bytes:
    """The page as HTML; every name in it is escaped.

    Args:
        findings: kind by kind, the worst first.
        crops, embeddings: of the set, and of the one that it is compared with.
    """
    by_kind = {kind: [f for f in findings if f.kind == kind] for kind in _TITLES}
    cases = {kind: _one_a_person(faces, _each_pair_once(fs)) for kind, fs in by_kind.items()}
    worst = {kind: rows[:SHOWN] for kind, rows in cases.items()}
    thumbnails = _thumbnails(faces, against, [f for rows in worst.values() for f in rows], crops)

    def case(finding: Finding) -> Case:
        other = None
        if finding.other is not None:
            other = thumbnails[(finding.against, finding.other)]
        return Case(finding, thumbnails[(False, finding.row)], other)

    sections = [
        Section(
            kind,
            *_TITLES[kind],
            len(rows),
            len({faces.name(f.row) for f in rows}),
            len(cases[kind]) <= SHOWN,
            [case(finding) for finding in worst[kind]],
        )
        for kind, rows in by_kind.items()
        if kind != "leak" or against is not None
    ]
    values = {
        "plan": plan,
        "sections": sections,
        "images": len(faces),
        "identities": len(faces.names),
        "remaining": len(faces) - len({finding.row for finding in findings}),
        "embeddings": embeddings,
        "crops": crops,
        "made_by": storage.made_by(),
        "command": _command(plan, config),
    }
    return template("audit.html.j2").render(values).encode()


def _each_pair_once(findings: Sequence[Finding]) -> list[Finding]:
    """The first finding of those that show the same two images of a set."""
    first: dict[frozenset[tuple[bool, int | None]], Finding] = {}
    for finding in findings:
        pair = frozenset({(False, finding.row), (finding.against, finding.other)})
        first.setdefault(pair, finding)
    return [*first.values()]


def _one_a_person(faces: Faces, findings: Sequence[Finding]) -> list[Finding]:
    """The worst finding of each identity first, then the others."""
    seen: set[str] = set()
    first: list[Finding] = []
    rest: list[Finding] = []
    for finding in findings:
        name = faces.name(finding.row)
        (rest if name in seen else first).append(finding)
        seen.add(name)
    return first + rest


def _thumbnails(
    faces: Faces, against: Faces | None, findings: Sequence[Finding], crops: Sequence[Artifact]
) -> dict[tuple[bool, int], Thumbnail]:
    """Those of the findings' images, by whether they are of the other set, and row."""
    rows = {(False, f.row) for f in findings}
    rows |= {(f.against, f.other) for f in findings if f.other is not None}
    thumbnails = {}
    for other, source, artifact in zip((False, True), (faces, against), crops, strict=False):
        assert source is not None
        row_of = {source.image_id(row): row for of, row in rows if of == other}
        for crop in read_crops(artifact, row_of.keys()):
            picture = Thumbnail(crop.image_id, crop.identity, data_uri(crop.data))
            thumbnails[(other, row_of[crop.image_id])] = picture
    return thumbnails


def _command(plan: Plan, config: AuditConfig) -> str:
    """The command line that makes this report again."""
    root = plan.root
    embeddings, *against = (below_root(source.uri, root) for source in plan.inputs)
    words = ["facenet", "audit", embeddings, *(["--against", *against] if against else [])]
    words += as_options(AuditConfig, config.determining())
    return shlex.join([*words, "--storage", "." if storage.is_local(root) else root])
