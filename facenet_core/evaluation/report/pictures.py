"""The photographs of the report: pairs that are hardest to decide, samples, what was left out."""

from __future__ import annotations

import base64
import io
import itertools
import posixpath
from collections import Counter
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facenet_core.evaluation.center_crops import centre_crops
from facenet_core.evaluation.embeddings import Embeddings, read_crops
from facenet_core.evaluation.evaluated_pairs import EvaluatedPairs
from facenet_core.evaluation.protocol.verification import Verification
from facenet_core.evaluation.report.metrics import Evaluation
from facenet_core.imaging.formats import openable

HARDEST = 8
SAMPLES = 16
SKIPPED = 12
_THUMBNAIL = 160


@dataclass(frozen=True)
class Thumbnail:
    """A crop on the page; `src` is a data URI."""

    image_id: str
    identity: str
    src: str

    @property
    def caption(self) -> str:
        """`Name_0001` for `Name/Name_0001.jpg`; other image ids whole."""
        stem = posixpath.splitext(posixpath.basename(self.image_id))[0]
        return stem if self.identity and stem.startswith(self.identity) else self.image_id


@dataclass(frozen=True)
class ThumbnailPair:
    """Two crops with their distance; `wrong` if the threshold of their fold misjudges them."""

    a: Thumbnail
    b: Thumbnail
    distance: float
    wrong: bool


@dataclass(frozen=True)
class Skipped:
    """A pair that could not be evaluated: its two image ids, each with whether it is why."""

    images: tuple[tuple[str, bool], ...]
    reason: str


@dataclass(frozen=True)
class ReportPictures:
    """The crops on the page.

    `closest` are pairs of two people, `farthest` pairs of one; `false_matches` and
    `false_non_matches` count all that were judged wrongly.
    """

    closest: list[ThumbnailPair]
    farthest: list[ThumbnailPair]
    false_matches: int
    false_non_matches: int
    samples: list[Thumbnail]


def collect(evaluation: Evaluation) -> ReportPictures:
    """Read the crops that the report shows, each once."""
    pairs, verification, crops = evaluation.pairs, evaluation.verification, evaluation.crops
    same, wrong = verification.pairs.same, ~verification.correct()
    hardest = [hardest_pairs(verification, same=kind) for kind in (False, True)]
    samples = sample_images(evaluation.embeddings)
    paired = {image_id for rows in hardest for row in rows for image_id in pairs.ids(row)}
    image_ids = {*samples, *paired}
    middles = image_ids & pairs.centre_cropped
    encoded = itertools.chain(
        read_crops(crops, image_ids), centre_crops(crops, middles) if middles else ()
    )
    thumbnails = {
        crop.image_id: Thumbnail(crop.image_id, crop.identity, data_uri(crop.data))
        for crop in encoded
    }

    def pair(row: int) -> ThumbnailPair:
        a, b = (thumbnails[image_id] for image_id in pairs.ids(row))
        return ThumbnailPair(a, b, float(verification.distances[row]), bool(wrong[row]))

    closest, farthest = ([pair(row) for row in rows] for rows in hardest)
    return ReportPictures(
        closest,
        farthest,
        int((wrong & ~same).sum()),
        int((wrong & same).sum()),
        [thumbnails[image_id] for image_id in samples],
    )


def hardest_pairs(verification: Verification, *, same: bool) -> np.ndarray:
    """Rows of the most distant pairs of one person, or of the closest pairs of two."""
    rows = np.flatnonzero(verification.pairs.same == same)
    distances = verification.distances[rows]
    return rows[np.argsort(-distances if same else distances, kind="stable")[:HARDEST]]


def sample_images(embeddings: Embeddings) -> list[str]:
    """Ids of one image of each of a few people, spread evenly over all of them."""
    first_of: dict[str, str] = {}
    for image_id, identity in zip(embeddings.image_ids, embeddings.identities, strict=True):
        first_of.setdefault(identity or image_id, image_id)
    ids = [first_of[identity] for identity in sorted(first_of)]
    numbers = np.linspace(0, len(ids) - 1, min(SAMPLES, len(ids))).astype(int)
    return [ids[number] for number in numbers]


def data_uri(data: bytes) -> str:
    """A crop as a data URI of a small JPEG."""
    with Image.open(io.BytesIO(data), formats=openable()) as image:
        small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def skipped_pairs(pairs: EvaluatedPairs) -> list[Skipped]:
    """The first few pairs that could not be evaluated."""
    skipped = []
    for row in np.flatnonzero(pairs.missing)[:SKIPPED]:
        ids = (pairs.pairs.image_id_a[row], pairs.pairs.image_id_b[row])
        reasons = [pairs.reasons[image_id] for image_id in ids if image_id in pairs.reasons]
        images = tuple((image_id, image_id in pairs.reasons) for image_id in ids)
        skipped.append(Skipped(images, "; ".join(dict.fromkeys(reasons))))
    return skipped


def reasons_of_skipping(pairs: EvaluatedPairs) -> list[tuple[str, int]]:
    """How many images gave no crop for which reason, the most frequent first."""
    reasons = Counter(reason.partition(":")[0] for reason in pairs.reasons.values())
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
