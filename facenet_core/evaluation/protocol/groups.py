"""Verification by group: whom does a model fail?

Attributes of images or of people (sex, age band, skin tone …) come from a CSV. Groups are judged by
the same thresholds as everybody, and pairs of two people only within their group, as a stranger
who resembles is most often of the same group (Grother et al. 2019, NIST IR 8280).
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facenet_core import storage
from facenet_core.errors import PairsError
from facenet_core.evaluation.protocol.curves import area_under, equal_error_rate, roc
from facenet_core.evaluation.protocol.verification import Verification
from facenet_core.text import files

_KEYS = ("image_id", "identity")


@dataclass(frozen=True)
class Attributes:
    """Values of attributes by image id or by identity.

    Attributes:
        key: `image_id` or `identity`, whichever the file has.
        values: by attribute, the value of each key.
    """

    key: str
    values: Mapping[str, Mapping[str, str]]

    def of(self, attribute: str, image_ids: Sequence[str], identities: Sequence[str]) -> np.ndarray:
        """Str objects [n], the attribute's value for each image; empty where it is not known."""
        values = self.values[attribute]
        keys = image_ids if self.key == "image_id" else identities
        return np.array([values.get(key, "") for key in keys], object)


@dataclass(frozen=True)
class Decisions:
    """What a model says of n pairs.

    Attributes:
        same: bool [n], whether both images are of one person.
        distances: float64 [n].
        accepted: bool [n], taken for one person.
        accepted_at_val: bool [n], by the threshold of VAL.
    """

    same: np.ndarray
    distances: np.ndarray
    accepted: np.ndarray
    accepted_at_val: np.ndarray

    @classmethod
    def of(cls, verification: Verification) -> Decisions:
        """By the thresholds of the folds."""
        return cls(
            verification.pairs.same,
            verification.distances,
            verification.accepted(),
            verification.accepted(at_val=True),
        )


@dataclass(frozen=True)
class Group:
    """Metrics of the pairs within one group; None where there are no pairs to take one from.

    Attributes:
        fmr: false match rate, share of the pairs of two people taken for one.
        fnmr: false non-match rate, share of the pairs of one person taken for two.
        fmr_ratio, fnmr_ratio: that to the rate over all pairs within groups of the attribute.
        val_rate, far: shares accepted by the folds' thresholds for VAL.
    """

    attribute: str
    group: str
    one_person: int
    two_people: int
    accuracy: float | None
    fmr: float | None
    fnmr: float | None
    val_rate: float | None
    far: float | None
    auc: float | None
    eer: float | None
    fmr_ratio: float | None = None
    fnmr_ratio: float | None = None


def read_attributes(uri: str) -> Attributes:
    """Read a CSV with a header: a column `image_id` or `identity`, every other is an attribute.

    Raises:
        PairsError: there is no such file, it has neither column, no attribute, or a key twice.
    """
    try:
        text = files.decode(storage.read_bytes(uri), uri, PairsError)
    except FileNotFoundError:
        raise PairsError(f"{uri}: no such file; expected a CSV of attributes") from None
    delimiter = files.delimiter(text.lstrip().partition("\n")[0])
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        columns = list(reader.fieldnames or ())
    except csv.Error as error:
        raise PairsError(f"{uri}, line 1: not CSV: {error}") from None
    key = next((name for name in _KEYS if name in columns), None)
    attributes = [name for name in columns if name and name not in _KEYS]
    if key is None or not attributes:
        raise PairsError(
            f"{uri}: expected a CSV whose header has image_id or identity and at least one "
            f"attribute, such as `identity,sex,age`; found {', '.join(columns)[:120]!r}"
        )
    values: dict[str, dict[str, str]] = {name: {} for name in attributes}
    try:
        for row in reader:
            who = unicodedata.normalize("NFC", row[key] or "").replace("\\", "/")
            if who in values[attributes[0]]:
                raise PairsError(f"{uri}, line {reader.line_num}: a second row of {key} {who!r}")
            for name in attributes:
                values[name][who] = (row[name] or "").strip()
    except csv.Error as error:
        raise PairsError(f"{uri}, line {reader.line_num}: not CSV: {error}") from None
    return Attributes(key, values)


def by_group(
    attribute: str,
    group_a: np.ndarray,
    group_b: np.ndarray,
    decisions: Decisions,
) -> list[Group]:
    """Metrics of each group of an attribute, in the order of their names.

    Args:
        attribute: its name.
        group_a: str objects [n], the value for each pair's first image; empty: not known.
        group_b: str objects [n], for its second.
        decisions: on the pairs.
    """
    same, accepted = decisions.same, decisions.accepted
    inside = (group_a == group_b) & (group_a != "")

    def measure(name: str, members: np.ndarray) -> Group:
        one, two = members & same, members & ~same
        curve = (
            roc(decisions.distances[members], same[members]) if one.any() and two.any() else None
        )
        return Group(
            attribute,
            name,
            int(one.sum()),
            int(two.sum()),
            _mean((accepted == same)[members]),
            _mean(accepted[two]),
            _mean(~accepted[one]),
            _mean(decisions.accepted_at_val[one]),
            _mean(decisions.accepted_at_val[two]),
            area_under(curve) if curve else None,
            equal_error_rate(curve) if curve else None,
        )

    everyone = measure("", inside)
    groups = [measure(name, inside & (group_a == name)) for name in sorted({*group_a[inside]})]
    return [
        replace(
            group,
            fmr_ratio=_ratio(group.fmr, everyone.fmr),
            fnmr_ratio=_ratio(group.fnmr, everyone.fnmr),
        )
        for group in groups
    ]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
