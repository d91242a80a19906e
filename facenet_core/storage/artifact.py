"""A finished artifact, opened once: what a stage reads, and what it hands over to be published."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from facenet_core.errors import ArtifactError
from facenet_core.storage.dataset_card import CARD, dataset_card
from facenet_core.storage.files import join, sweep, write_bytes
from facenet_core.storage.manifests import (
    FORMAT,
    MANIFEST,
    RUN,
    TIMED,
    Input,
    Manifest,
    Part,
    Plan,
    damaged_parts,
    describe_file,
    finished,
    made_by,
    pretty_json,
    read_manifest,
)

# What other modules rely on: how many inputs and which counts an artifact of a stage has.
_INPUTS = {"align": 1, "embed": 2, "validate": 2}
_COUNTS = {
    "ingest": {"images"},
    "align": {"images", "aligned", "crops", "rejects"},
    "embed": {"crops", "embeddings"},
}


@dataclass(frozen=True)
class Artifact:
    """Where a finished artifact lies, and what its manifest says."""

    uri: str
    manifest: Manifest

    @property
    def stage(self) -> str:
        return self.manifest.stage

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def config(self) -> Mapping[str, Any]:
        return self.manifest.config

    @property
    def inputs(self) -> tuple[Input, ...]:
        return self.manifest.inputs

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.manifest.parts

    @property
    def counts(self) -> Mapping[str, int]:
        return self.manifest.counts

    @property
    def made_by(self) -> Mapping[str, str]:
        return self.manifest.made_by

    @property
    def details(self) -> Mapping[str, Any]:
        return self.manifest.details

    def as_input(self) -> Input:
        """What the plan of a stage that reads this artifact records of it."""
        return Input(self.uri, self.fingerprint)

    def has_file(self, name: str) -> bool:
        """Whether a file of this name is among the parts."""
        return any(part.name == name for part in self.parts)

    def digest_of(self, name: str) -> str | None:
        """SHA-256 of the file `name` among the parts; None where there is none of this name."""
        return next((part.sha256 for part in self.parts if part.name == name), None)

    def file_uri(self, name: str) -> str:
        """URI of the file `name` below the artifact."""
        return join(self.uri, name)

    def parts_in(self, folder: str) -> list[Part]:
        """The parts in one of the artifact's folders (`images`, `crops` …), in order."""
        return [part for part in self.parts if part.folder == folder]

    def part_uris(self, folder: str) -> list[str]:
        """URIs of the parts in one of the artifact's folders, in order."""
        return [self.file_uri(part.name) for part in self.parts_in(folder)]


@dataclass(frozen=True)
class Outcome:
    """What the run of a stage made, for its manifest: `storage.publish(plan, outcome, run)`.

    Attributes:
        parts: the files that were written.
        counts: how many images, rows, people, by name.
        details: what a reader of this kind of artifact needs (labels, metrics, a threshold).
    """

    parts: Sequence[Part]
    counts: Mapping[str, int]
    details: Mapping[str, Any] = field(default_factory=dict)


def published(plan: Plan) -> Outcome | None:
    """The outcome of a plan whose artifact is complete, else None."""
    manifest = finished(plan)
    if manifest is None:
        return None
    return Outcome(manifest.parts, manifest.counts, manifest.details)


def find_artifact(uri: str) -> Artifact | None:
    """The artifact at a URI, its parts unchecked; None where no manifest lies there.

    Raises:
        ArtifactError: there is a manifest and it cannot be understood.
    """
    manifest = read_manifest(uri)
    return None if manifest is None else Artifact(uri, manifest)


def open_artifact(uri: str, stage: str) -> Artifact:
    """The finished artifact of `stage` at a URI, its parts checked to be there in full size.

    Raises:
        ArtifactError: not an artifact, not finished, of another stage, or with damaged parts.
    """
    artifact = find_artifact(uri)
    if artifact is None:
        raise ArtifactError(
            f"{uri}: no finished artifact here (no {MANIFEST}); expected the folder that "
            f"`facenet {stage}` printed"
        )
    return check_artifact(artifact, stage)


def check_artifact(artifact: Artifact, stage: str) -> Artifact:
    """The artifact, if it is one of `stage` whose parts are there in full size.

    Raises:
        ArtifactError: it is of another stage, or with damaged parts.
    """
    uri = artifact.uri
    if artifact.stage != stage:
        raise ArtifactError(f"{uri}: made by `{artifact.stage}`, expected an output of `{stage}`")
    lacking = sorted(_COUNTS.get(stage, set()) - set(artifact.counts))
    lacking += ["inputs"] if len(artifact.inputs) < _INPUTS.get(stage, 0) else []
    if lacking:
        raise ArtifactError(
            f"{uri}: its {MANIFEST} does not say {', '.join(lacking)}; somebody edited it: remove "
            f"it and run the `{stage}` stage again"
        )
    damaged = damaged_parts(uri, artifact.manifest)
    if damaged:
        raise ArtifactError(
            f"{uri}: {len(damaged)} of {len(artifact.parts)} parts are missing or cut "
            f"({', '.join(damaged[:3])}); run the `{stage}` stage again to remake them"
        )
    return artifact


def publish(plan: Plan, outcome: Outcome, run: Mapping[str, Any]) -> Manifest:
    """Check that every part is there, write `run.json` and the card, and, last, `manifest.json`.

    Where a run beside this one was faster and left the same files, its manifest stays.

    Args:
        run: times and run id of this try, for `run.json`; the host is added.

    Raises:
        ArtifactError: a part is missing or its size changed since it was written.
    """
    parts = outcome.parts
    if plan.stage in TIMED:
        parts = _as_they_are(plan.uri, parts)
    manifest = Manifest(
        FORMAT,
        plan.stage,
        plan.name,
        plan.fingerprint,
        plan.config,
        plan.inputs,
        tuple(sorted(parts, key=lambda part: part.name)),
        dict(sorted(outcome.counts.items())),
        made_by(),
        plan.stage_format,
        dict(outcome.details),
    )
    if (earlier := finished(plan)) is not None and earlier.parts == manifest.parts:
        return earlier
    sweep(plan.uri)
    damaged = damaged_parts(plan.uri, manifest)
    if damaged:
        raise ArtifactError(f"{plan.uri}: parts vanished before they were published: {damaged[:5]}")
    stamp = {"host": socket.gethostname(), "finished": datetime.now(UTC).isoformat(), **run}
    write_bytes(join(plan.uri, RUN), pretty_json(stamp))
    if (card := dataset_card(manifest)) is not None:
        write_bytes(join(plan.uri, CARD), card.encode())
    write_bytes(join(plan.uri, MANIFEST), pretty_json(asdict(manifest)))
    if plan.stage in TIMED:
        # A run beside this one may have put its files over these since. Of all such runs, the one
        # whose manifest comes last finds every file in its place here.
        now = _as_they_are(plan.uri, manifest.parts)
        if now != manifest.parts:
            manifest = replace(manifest, parts=now)
            write_bytes(join(plan.uri, MANIFEST), pretty_json(asdict(manifest)))
    return manifest


def _as_they_are(uri: str, parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(describe_file(uri, part.name, part.rows) for part in parts)
