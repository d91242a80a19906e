"""What a stage returns: small, the same for every stage, and enough for the next one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from facenet_core import storage
from facenet_core.storage import Manifest, Plan


class StageSummary(BaseModel):
    """A finished artifact. `seconds` is the time this run took to make or find it."""

    stage: str
    uri: str
    fingerprint: str
    seconds: float
    counts: dict[str, int]
    metrics: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, manifest: Manifest, run: Run) -> StageSummary:
        return cls(
            stage=plan.stage,
            uri=plan.uri,
            fingerprint=plan.fingerprint,
            seconds=round(run.seconds, 3),
            counts=dict(manifest.counts),
            metrics=dict(manifest.details.get("metrics", {})),
        )


class PipelineSummary(BaseModel):
    """The artifacts of a whole run."""

    raw: StageSummary
    crops: StageSummary
    holdout_raw: StageSummary
    holdout_crops: StageSummary
    audit: StageSummary | None = None
    model: StageSummary
    report: StageSummary
    embeddings: StageSummary | None = None


class Run:
    """One try at a stage: who and when, for `run.json`."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex[:12]
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._clock

    def record(self) -> Mapping[str, Any]:
        return {
            "run_id": self.id,
            "started": self._started.isoformat(),
            "seconds": round(self.seconds, 3),
        }


def already_made(plan: Plan, run: Run) -> StageSummary | None:
    """The summary if this plan's artifact is complete, else None."""
    manifest = storage.finished(plan)
    return StageSummary.of(plan, manifest, run) if manifest else None
