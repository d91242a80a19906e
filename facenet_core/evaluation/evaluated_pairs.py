"""The pairs that a validation is about: which, and why some cannot be evaluated."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
from facenet_core.storage import Manifest, parquet

# A part of crops that bring their own pairs, as imported verification sets do.
OWN_PAIRS = "pairs.parquet"


@dataclass(frozen=True)
class Trial:
    """Pairs of a data set, those that can be evaluated told from those that cannot.

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

    def ids(self, row: int) -> tuple[str, str]:
        """Image ids of an evaluated pair: `row` counts those only."""
        pair = self.evaluated[row]
        return self.pairs.image_id_a[pair], self.pairs.image_id_b[pair]

    def touching(self, image_ids: Collection[str]) -> np.ndarray:
        """Bool [n]: pairs with an image among these."""
        sides = zip(self.pairs.image_id_a, self.pairs.image_id_b, strict=True)
        return np.array([a in image_ids or b in image_ids for a, b in sides], bool)

    def with_centre_crops(self, image_ids: Collection[str]) -> Self:
        """The trial in which these images, that gave no crop, can be embedded after all."""
        still = self.reasons.keys() - {*image_ids}
        return replace(self, missing=self.touching(still), centre_cropped=frozenset(image_ids))


def pairs_of(crops_uri: str, crops: Manifest, config: ValidateConfig) -> str:
    """Which pairs are meant: `generate`, or the URI of a file; `auto` resolved."""
    if config.pairs != AUTO_PAIRS:
        return config.pairs
    if any(part.name == OWN_PAIRS for part in crops.parts):
        return storage.join(crops_uri, OWN_PAIRS)
    return GENERATED_PAIRS


def choose_pairs(crops_uri: str, crops: Manifest, config: ValidateConfig) -> Trial:
    """The pairs that the configuration asks for, in the image ids of an artifact of crops.

    Raises:
        PairsError: they cannot be had; or an image gave no crop and `missing` is `error`.
    """
    pairs = pairs_of(crops_uri, crops, config)
    if pairs == GENERATED_PAIRS:
        drawn = _drawn(
            crops_uri,
            crops.fingerprint,
            config.lfw_nrof_folds,
            config.pairs_per_fold,
            config.pairs_seed,
        )
        return Trial(drawn, np.zeros(len(drawn), bool), {})
    named = files.read(pairs, config.lfw_nrof_folds)
    reasons = dict(_rejects(crops_uri, crops))
    ids = (image_id for image_id, _ in faces(crops_uri, crops))
    found, missing = resolve(named, ids, reasons, pairs)
    needed = sorted({*found.image_id_a, *found.image_id_b} & reasons.keys())
    if needed and config.missing == "error":
        listed = "; ".join(f"{image_id} ({reasons[image_id]})" for image_id in needed[:5])
        raise PairsError(
            f"{pairs}: {len(needed)} images gave no crop, which leaves {missing.sum()} of "
            f"{len(found)} pairs out: {listed}. Align with other settings, or set missing: skip "
            "or centre-crop"
        )
    return Trial(found, missing, {image_id: reasons[image_id] for image_id in needed})


@lru_cache(maxsize=1)  # the pipeline asks before it trains and again when it validates
def _drawn(crops_uri: str, fingerprint: str, nrof_folds: int, per_fold: int, seed: int) -> Pairs:
    crops = storage.open_artifact(crops_uri, "align")
    return generate(dict(faces(crops_uri, crops)), nrof_folds, per_fold, seed)


def faces(uri: str, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Image id and identity of every image that gave a crop."""
    for part in parquet.part_uris(uri, "crops", manifest.parts):
        table = parquet.read_table(part, ["image_id", "identity", "face_index"])
        columns = (table[name].to_pylist() for name in ("image_id", "identity", "face_index"))
        for image_id, identity, face in zip(*columns, strict=True):
            if face == 0:
                yield image_id, identity


def _rejects(uri: str, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Image id of every image that gave no crop, and why."""
    for part in parquet.part_uris(uri, "rejects", manifest.parts):
        table = parquet.read_table(part, ["image_id", "reason", "detail"])
        for image_id, reason, detail in zip(*(c.to_pylist() for c in table.columns), strict=True):
            yield image_id, f"{reason}: {detail}" if detail else reason


def pairs_content(uri: str) -> str:
    """What a pairs file, or CFP's folder of lists, is known by in a fingerprint."""
    return files.content_of(uri)
