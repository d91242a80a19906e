"""The pairs that a validation is about: which, and why some cannot be evaluated."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np

from facenet_core import storage
from facenet_core.config import AUTO_PAIRS, GENERATED_PAIRS, ValidateConfig
from facenet_core.datasets.pairs import files
from facenet_core.datasets.pairs.generate import generate
from facenet_core.datasets.pairs.resolve import Pairs, resolve
from facenet_core.errors import PairsError
from facenet_core.evaluation.embeddings import Embeddings
from facenet_core.evaluation.protocol.verification import IndexedPairs
from facenet_core.storage import Artifact, parquet

# The file with the pairs of an imported verification set, beside its crops.
OWN_PAIRS = "pairs.parquet"


@dataclass(frozen=True)
class EvaluatedPairs:
    """Pairs of a data set, and which of them can be evaluated.

    Attributes:
        pairs: all n, with image ids of the data set.
        missing: bool [n], whether an image of the pair cannot be embedded.
        reasons: why it gave no crop, by image id.
        centre_cropped: images that gave no crop and are embedded by their middle.
    """

    pairs: Pairs
    missing: np.ndarray
    reasons: Mapping[str, str]
    centre_cropped: frozenset[str] = frozenset()

    @property
    def evaluated(self) -> np.ndarray:
        """Rows int [k] of the pairs that can be evaluated."""
        return np.flatnonzero(~self.missing)

    @property
    def same(self) -> np.ndarray:
        """Bool [k], whether a pair that can be evaluated is of one person."""
        return self.pairs.same[self.evaluated]

    @property
    def fold(self) -> np.ndarray:
        """Int [k], the fold that tests it."""
        return self.pairs.fold[self.evaluated]

    def image_ids(self) -> set[str]:
        """The images of the pairs that can be evaluated."""
        rows = self.evaluated
        return {*self.pairs.image_id_a[rows], *self.pairs.image_id_b[rows]}

    def indexed(self, embeddings: Embeddings) -> IndexedPairs:
        """The pairs that can be evaluated, by the rows of their embeddings."""
        rows = self.evaluated
        return IndexedPairs(
            embeddings.rows(self.pairs.image_id_a[rows]),
            embeddings.rows(self.pairs.image_id_b[rows]),
            self.same,
            self.fold,
        )

    def ids(self, row: int) -> tuple[str, str]:
        """Image ids of an evaluated pair: `row` counts those only."""
        pair = self.evaluated[row]
        return self.pairs.image_id_a[pair], self.pairs.image_id_b[pair]

    def touching(self, image_ids: Collection[str]) -> np.ndarray:
        """Bool [n]: pairs with an image among these."""
        sides = zip(self.pairs.image_id_a, self.pairs.image_id_b, strict=True)
        return np.array([a in image_ids or b in image_ids for a, b in sides], bool)

    def with_centre_crops(self, image_ids: Collection[str]) -> Self:
        """The same pairs, where these images, that gave no crop, can be embedded after all."""
        still = self.reasons.keys() - {*image_ids}
        return replace(self, missing=self.touching(still), centre_cropped=frozenset(image_ids))


def resolve_auto(crops: Artifact, config: ValidateConfig) -> str:
    """`config.pairs` with `auto` resolved: `generate`, or the URI of a file."""
    if config.pairs != AUTO_PAIRS:
        return config.pairs
    if crops.has_file(OWN_PAIRS):
        return crops.file_uri(OWN_PAIRS)
    raw = storage.read_manifest(crops.inputs[0].uri)
    return (files.of_data_set(raw) if raw is not None else None) or GENERATED_PAIRS


def choose_pairs(crops: Artifact, config: ValidateConfig) -> EvaluatedPairs:
    """The pairs that the configuration asks for, in the image ids of an artifact of crops.

    Raises:
        PairsError: there are no such pairs; or an image gave no crop and `missing` is `error`.
    """
    uri = resolve_auto(crops, config)
    if uri == GENERATED_PAIRS:
        drawing = (config.lfw_nrof_folds, config.pairs_per_fold, config.pairs_seed)
        drawn = _draw(crops.fingerprint, tuple(crops.part_uris("crops")), *drawing)
        return EvaluatedPairs(drawn, np.zeros(len(drawn), bool), {})
    named = files.read(uri, config.lfw_nrof_folds)
    reasons = dict(_rejects(crops))
    ids = (image_id for image_id, _ in faces(crops))
    pairs, missing = resolve(named, ids, reasons, uri)
    needed = sorted({*pairs.image_id_a, *pairs.image_id_b} & reasons.keys())
    if needed and config.missing == "error":
        listed = "; ".join(f"{image_id} ({reasons[image_id]})" for image_id in needed[:5])
        raise PairsError(
            f"{uri}: {len(needed)} images gave no crop, which leaves {missing.sum()} of "
            f"{len(pairs)} pairs out: {listed}. Align with other settings, or set missing: skip "
            "or centre-crop"
        )
    return EvaluatedPairs(pairs, missing, {image_id: reasons[image_id] for image_id in needed})


@lru_cache(maxsize=1)  # the pipeline asks before it trains and again when it validates
def _draw(
    fingerprint: str, part_uris: tuple[str, ...], nrof_folds: int, per_fold: int, seed: int
) -> Pairs:
    return generate(dict(_faces(part_uris)), nrof_folds, per_fold, seed)


def faces(crops: Artifact) -> Iterator[tuple[str, str]]:
    """Image id and identity of every image that gave a crop."""
    yield from _faces(crops.part_uris("crops"))


def _faces(part_uris: Iterable[str]) -> Iterator[tuple[str, str]]:
    for part in part_uris:
        table = parquet.read_table(part, ["image_id", "identity", "face_index"])
        columns = (table[name].to_pylist() for name in ("image_id", "identity", "face_index"))
        for image_id, identity, face in zip(*columns, strict=True):
            if face == 0:
                yield image_id, identity


def _rejects(crops: Artifact) -> Iterator[tuple[str, str]]:
    """Image id of every image that gave no crop, and why."""
    for part in crops.part_uris("rejects"):
        table = parquet.read_table(part, ["image_id", "reason", "detail"])
        for image_id, reason, detail in zip(*(c.to_pylist() for c in table.columns), strict=True):
            yield image_id, f"{reason}: {detail}" if detail else reason


def pairs_content(uri: str) -> str:
    """The content of a pairs file, or of CFP's folder of lists, for a fingerprint."""
    return files.content_of(uri)
