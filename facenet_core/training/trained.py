"""What training made, on its way into a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facenet_core import storage
from facenet_core.storage import Part, Plan

LOGS = "logs"
# Beside `model.keras`, where that holds moving averages: the weights they are averages of.
RAW_FILE = "model-raw.keras"


@dataclass(frozen=True)
class Trained:
    """The parts, counts and details of a model's manifest."""

    parts: tuple[Part, ...]
    counts: Mapping[str, int]
    details: Mapping[str, Any]


def published(plan: Plan) -> Trained | None:
    """The model of a plan that is carried out already."""
    manifest = storage.finished(plan)
    return manifest and Trained(manifest.parts, manifest.counts, manifest.details)
