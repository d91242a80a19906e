"""What a finding is, and the distances that make one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from facenet_core.audit.faces import Faces
from facenet_core.config import FindingKind
from facenet_core.storage import schemas

# Of embeddings that have nothing in common.
UNRELATED = math.sqrt(2)
# Parts of the way from the threshold to there, chosen by benchmarks/audit.py.
_MARGIN = 0.8
_APART = 0.55
# Parts of the threshold.
_ONE_CENTRE = 0.45
_FEW_FACES = 0.77
_ONE_FACE = 0.6
_NEARLY_EQUAL = 0.5
_ANOTHERS = 0.9


@dataclass(frozen=True)
class Limits:
    """Distances that follow from the threshold of pairs of faces.

    Attributes:
        same: the threshold.
    """

    same: float

    @property
    def margin(self) -> float:
        """By so much must another person be nearer than the own one."""
        return _MARGIN * (UNRELATED - self.same)

    @property
    def far(self) -> float:
        """From here on a face is not of the people that it is compared with."""
        return self.same + self.margin

    @property
    def two_people(self) -> float:
        """Two clusters of one identity that are farther apart are two people."""
        return self.same + _APART * (UNRELATED - self.same)

    @property
    def one_centre(self) -> float:
        """Two identities whose centres are nearer to one another are one person."""
        return _ONE_CENTRE * self.same

    @property
    def few_faces(self) -> float:
        """So near must the faces be, too, where one of them has two: its centre is uncertain."""
        return _FEW_FACES * self.same

    @property
    def one_face(self) -> float:
        """So near must the faces be where one of them has a single one."""
        return _ONE_FACE * self.same

    @property
    def anothers(self) -> float:
        """A face so near to another person is theirs, whatever it is like under its own name."""
        return _ANOTHERS * self.same

    @property
    def nearly_equal(self) -> float:
        """Embeddings of two shots are hardly ever nearer to one another."""
        return _NEARLY_EQUAL * self.same


@dataclass(frozen=True)
class Finding:
    """Something wrong with an image.

    Attributes:
        kind: what.
        row: of the image.
        other: row of the image to look at beside it; None where there is none.
        distance: Euclidean, as the reason says from what.
        severity: 0 to 1, how far beyond its limit.
        reason: a sentence.
    """

    kind: FindingKind
    row: int
    other: int | None
    distance: float
    severity: float
    reason: str

    @property
    def against(self) -> bool:
        """Whether `other` is a row of the set that this one is compared with."""
        return self.kind == "leak"


def severity(excess: float, scale: float) -> float:
    """How far beyond its limit a value is, on a scale of 0 to 1."""
    return min(max(excess / scale, 0.0), 1.0)


def table(findings: Sequence[Finding], faces: Faces, against: Faces | None) -> pa.Table:
    """As `schemas.FINDINGS`, kind by kind, the most severe ones first."""
    others = [_named(against if f.against else faces, f.other) for f in findings]
    columns = [
        [f.kind for f in findings],
        [faces.image_id(f.row) for f in findings],
        [faces.name(f.row) for f in findings],
        [image_id for image_id, _ in others],
        [identity for _, identity in others],
        [f.distance for f in findings],
        [f.severity for f in findings],
        [f.reason for f in findings],
    ]
    return pa.table(columns, schema=schemas.FINDINGS)


def _named(faces: Faces | None, row: int | None) -> tuple[str | None, str | None]:
    if faces is None or row is None:
        return None, None
    return faces.image_id(row), faces.name(row)
