"""The pairs that a validation is about: which, and why some cannot be evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from facenet_core import records
from facenet_core.config import GENERATED_PAIRS, ValidateConfig
from facenet_core.datasets import pairs as pairs_files
from facenet_core.datasets.pairs import Pairs
from facenet_core.errors import PairsError
from facenet_core.storage import Manifest


@dataclass(frozen=True)
class Trial:
    """Pairs of a data set, those that can be evaluated told from those that cannot.

    Attributes:
        pairs: all n, with image ids of the data set.
        missing: bool [n], whether an image of the pair gave no crop.
        reasons: why, by image id.
    """

    pairs: Pairs
    missing: np.ndarray
    reasons: Mapping[str, str]

    @property
    def evaluated(self) -> np.ndarray:
        """Rows int [k] of the pairs that both have crops."""
        return np.flatnonzero(~self.missing)

    def ids(self, row: int) -> tuple[str, str]:
        """Image ids of an evaluated pair: `row` counts those only."""
        pair = self.evaluated[row]
        return self.pairs.image_id_a[pair], self.pairs.image_id_b[pair]


def choose_pairs(crops_uri: str, crops: Manifest, config: ValidateConfig) -> Trial:
    """The pairs that the configuration asks for, in the image ids of an artifact of crops.

    Raises:
        PairsError: they cannot be had; or an image gave no crop and `missing` is `error`.
    """
    if config.pairs == GENERATED_PAIRS:
        identity_of = dict(_faces(crops_uri, crops))
        drawn = pairs_files.generate(
            identity_of, config.lfw_nrof_folds, config.pairs_per_fold, config.pairs_seed
        )
        return Trial(drawn, np.zeros(len(drawn), bool), {})
    named = pairs_files.read(config.pairs, config.lfw_nrof_folds)
    reasons = dict(_rejects(crops_uri, crops))
    faces = (image_id for image_id, _ in _faces(crops_uri, crops))
    found, missing = pairs_files.resolve(named, faces, reasons, config.pairs)
    needed = sorted({*found.image_id_a, *found.image_id_b} & reasons.keys())
    if needed and config.missing == "error":
        listed = "; ".join(f"{image_id} ({reasons[image_id]})" for image_id in needed[:5])
        raise PairsError(
            f"{config.pairs}: {len(needed)} images gave no crop, which leaves {missing.sum()} of "
            f"{len(found)} pairs out: {listed}. Align with other settings, or set missing: skip"
        )
    return Trial(found, missing, {image_id: reasons[image_id] for image_id in needed})


def _faces(uri: str, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Image id and identity of every image that gave a crop."""
    for part in records.part_uris(uri, "crops", manifest.parts):
        table = records.read_table(part, ["image_id", "identity", "face_index"])
        columns = (table[name].to_pylist() for name in ("image_id", "identity", "face_index"))
        for image_id, identity, face in zip(*columns, strict=True):
            if face == 0:
                yield image_id, identity


def _rejects(uri: str, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Image id of every image that gave no crop, and why."""
    for part in records.part_uris(uri, "rejects", manifest.parts):
        table = records.read_table(part, ["image_id", "reason", "detail"])
        for image_id, reason, detail in zip(*(c.to_pylist() for c in table.columns), strict=True):
            yield image_id, f"{reason}: {detail}" if detail else reason
