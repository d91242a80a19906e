"""The distance below which two faces are one person's, as a validation found it.

Wherever photographs are compared, distances are Euclidean, of embeddings of unit length: 0 to 2, as
the original's compare.py and cluster.py have them. Validation keeps to its protocol, which draws
its lines at squared Euclidean distances or at angles; here they are turned into the others.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.evaluation.protocol.distances import DistanceMetric
from facenet_core.storage import Manifest

METRIC = "Euclidean, of embeddings of unit length"  # as JSON says it


@dataclass(frozen=True)
class Threshold:
    """How a model's embeddings are compared.

    Attributes:
        distance: two faces that are nearer than this are the same person; None: not known.
        strict: so near are hardly ever two people: the threshold of VAL@FAR; None: not known.
        use_flipped_images: the mirrored crop's embedding is joined to the crop's, and both
            together are brought to unit length.
        report: URI of the validation it is from.
    """

    distance: float | None = None
    strict: float | None = None
    use_flipped_images: bool = False
    report: str | None = None

    def same(self, distance: float) -> bool | None:
        """Whether two faces so far apart are one person's; None where no threshold is known."""
        return None if self.distance is None else bool(distance < self.distance)


def as_euclidean(threshold: float, metric: DistanceMetric, use_flipped_images: bool) -> float:
    """A validation's threshold as a Euclidean distance of embeddings of unit length.

    Args:
        threshold: a squared Euclidean distance, or angle/π, as `metric` says.
        use_flipped_images: embeddings of crop and mirror image were joined, to length √2.
    """
    if metric == "cosine":
        return float(2 * np.sin(np.pi * threshold / 2))
    return float(np.sqrt(threshold / (2 if use_flipped_images else 1)))


def find_reports(root: str, fingerprint: str) -> list[tuple[str, Manifest]]:
    """The validations of a model below a storage root, the last one first."""
    folder = storage.join(root, storage.STAGE_FOLDERS["validate"])
    reports = []
    for name in storage.find_files(folder):
        artifact, file = posixpath.split(name)
        if file != storage.MANIFEST or artifact.count("/") != 1:
            continue
        uri = storage.join(folder, artifact)
        manifest = storage.read_manifest(uri)
        if (
            manifest is not None
            and _metrics(manifest).get("threshold") is not None
            and any(source.fingerprint == fingerprint for source in manifest.inputs)
        ):
            reports.append((storage.modified(storage.join(folder, name)), uri, manifest))
    reports.sort(key=lambda item: (item[0], item[1]), reverse=True)
    return [(uri, manifest) for _, uri, manifest in reports]


def validated_threshold(reports: Sequence[tuple[str, Manifest]]) -> Threshold:
    """The mean thresholds over the folds of a model's last validation, from `find_reports`.

    Validations that subtracted a mean are left out: the mean is that of their pairs.
    """
    for uri, manifest in reports:
        metrics = _metrics(manifest)
        try:
            if not metrics["subtract_mean"]:
                strict = float(np.mean([fold["val_threshold"] for fold in metrics["folds"]]))
                metric = metrics["distance_metric"], metrics["use_flipped_images"]
                return Threshold(
                    as_euclidean(float(metrics["threshold"]), *metric),
                    as_euclidean(strict, *metric),
                    metrics["use_flipped_images"],
                    uri,
                )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{uri}: its manifest has no threshold that can be used ({error!r}); validate the "
                "model again"
            ) from None
    return Threshold()


def _metrics(report: Manifest) -> Mapping[str, Any]:
    metrics = report.details.get("metrics")
    return metrics if isinstance(metrics, Mapping) else {}


def root_of(model_uri: str) -> str | None:
    """The storage root that a model's artifact lies under, by its place."""
    parts = model_uri.rsplit("/", 3)
    return parts[0] if len(parts) == 4 and parts[1] == storage.STAGE_FOLDERS["train"] else None
