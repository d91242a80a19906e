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
from facenet_core.evaluation.evaluated_pairs import Trial
from facenet_core.evaluation.protocol.verification import Verification
from facenet_core.imaging.formats import openable
from facenet_core.storage import Manifest

HARDEST = 8
SAMPLES = 16
SKIPPED = 12
_THUMBNAIL = 160


@dataclass(frozen=True)
class Face:
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
class PairOfFaces:
    """Two crops with their distance; `wrong` if the threshold of their fold misjudges them."""

    a: Face
    b: Face
    distance: float
    wrong: bool


@dataclass(frozen=True)
class Skipped:
    """A pair that could not be evaluated: its two image ids, each with whether it is why."""

    images: tuple[tuple[str, bool], ...]
    reason: str


@dataclass(frozen=True)
class Pictures:
    """What the report shows of the crops.

    `closest` are pairs of two people, `farthest` pairs of one; `false_matches` and
    `false_non_matches` count all that were judged wrongly.
    """

    closest: list[PairOfFaces]
    farthest: list[PairOfFaces]
    false_matches: int
    false_non_matches: int
    samples: list[Face]


def collect(
    crops_uri: str,
    crops: Manifest,
    verification: Verification,
    trial: Trial,
    embeddings: Embeddings,
) -> Pictures:
    """Read the crops that the report shows, each once."""
    same, fold = trial.pairs.same[trial.evaluated], trial.pairs.fold[trial.evaluated]
    wrong = verification.accepted(fold) != same
    hardest = [hardest_pairs(verification, trial, same=kind) for kind in (False, True)]
    samples = sample_images(embeddings)
    paired = {image_id for rows in hardest for row in rows for image_id in trial.ids(row)}
    wanted = {*samples, *paired}
    middles = wanted & trial.centre_cropped
    found = itertools.chain(
        read_crops(crops_uri, crops, wanted),
        centre_crops(crops_uri, crops, middles) if middles else (),
    )
    faces = {
        crop.image_id: Face(crop.image_id, crop.identity, thumbnail(crop.data)) for crop in found
    }
    closest, farthest = (
        [
            PairOfFaces(
                *(faces[image_id] for image_id in trial.ids(row)),
                distance=float(verification.distances[row]),
                wrong=bool(wrong[row]),
            )
            for row in rows
        ]
        for rows in hardest
    )
    return Pictures(
        closest,
        farthest,
        int((wrong & ~same).sum()),
        int((wrong & same).sum()),
        [faces[image_id] for image_id in samples],
    )


def hardest_pairs(verification: Verification, trial: Trial, *, same: bool) -> np.ndarray:
    """Rows of the most distant pairs of one person, or of the closest pairs of two."""
    rows = np.flatnonzero(trial.pairs.same[trial.evaluated] == same)
    distances = verification.distances[rows]
    return rows[np.argsort(-distances if same else distances, kind="stable")[:HARDEST]]


def sample_images(embeddings: Embeddings) -> list[str]:
    """Ids of one image of each of a few people, spread evenly over all of them."""
    first_of: dict[str, str] = {}
    for image_id, identity in zip(embeddings.image_ids, embeddings.identities, strict=True):
        first_of.setdefault(identity or image_id, image_id)
    ids = [first_of[identity] for identity in sorted(first_of)]
    places = np.linspace(0, len(ids) - 1, min(SAMPLES, len(ids))).astype(int)
    return [ids[place] for place in places]


def thumbnail(data: bytes) -> str:
    """A crop as a data URI of a small JPEG."""
    with Image.open(io.BytesIO(data), formats=openable()) as image:
        small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def skipped_pairs(trial: Trial) -> list[Skipped]:
    """The first few pairs that could not be evaluated."""
    skipped = []
    for row in np.flatnonzero(trial.missing)[:SKIPPED]:
        ids = (trial.pairs.image_id_a[row], trial.pairs.image_id_b[row])
        reasons = [trial.reasons[image_id] for image_id in ids if image_id in trial.reasons]
        images = tuple((image_id, image_id in trial.reasons) for image_id in ids)
        skipped.append(Skipped(images, "; ".join(dict.fromkeys(reasons))))
    return skipped


def reasons_of_skipping(trial: Trial) -> list[tuple[str, int]]:
    """How many images gave no crop for which reason, the most frequent first."""
    reasons = Counter(reason.partition(":")[0] for reason in trial.reasons.values())
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
