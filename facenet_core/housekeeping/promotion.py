"""Which model of a name is in use, and which artifact of a name is the newest.

A model that passes the gate of a validation is promoted: `{root}/models/{name}/latest.json` names
it. That file is replaced whole, and only by a model that was finished later, so validating an old
model again takes nothing back. Wherever a stage expects an artifact's URI, `newest:NAME` stands for
the one of this name that was finished last, and `promoted:NAME` for the model in `latest.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from facenet_core import storage
from facenet_core.errors import ArtifactError, FacenetError
from facenet_core.models import catalogue
from facenet_core.progress import Progress, silent
from facenet_core.storage import STAGE_FOLDERS, Artifact

LATEST = "latest.json"
NEWEST, PROMOTED = "newest:", "promoted:"


class GateFailed(FacenetError):
    """A model is less accurate than it has to be."""


@dataclass(frozen=True)
class GateResult:
    """Whether a model may be used, and why; part of its report's manifest."""

    promoted: bool
    why: str


def gate_result(accuracy: float, min_accuracy: float | None) -> GateResult:
    """Compare the accuracy of a validation with the gate."""
    if min_accuracy is None:
        return GateResult(False, "no min_accuracy was set")
    if accuracy < min_accuracy:
        return GateResult(False, f"accuracy {accuracy:.4f} is below min_accuracy {min_accuracy:g}")
    return GateResult(True, f"accuracy {accuracy:.4f} reaches min_accuracy {min_accuracy:g}")


def enforce(root: str, report_uri: str) -> str | None:
    """Act on the gate result of a finished report: promote its model, or fail.

    Returns:
        The URI of `latest.json` if the model is the promoted one now, else None.

    Raises:
        GateFailed: the model did not reach `min_accuracy`.
    """
    report = storage.open_artifact(report_uri, "validate")
    result = GateResult(report.details["promoted"], report.details["why"])
    if result.promoted:
        return _promote(root, report, report_uri, result)
    if report.config.get("min_accuracy") is not None:
        raise GateFailed(
            f"{report_uri}: not promoted: {result.why}; the report is complete, and the model in "
            f"use stays the one it was"
        )
    return None


def resolve(root: str, reference: str, stage: str, progress: Progress = silent) -> str:
    """The URI of the artifact of `stage` that `newest:…` or `promoted:…` stands for now.

    A model by its name in the catalogue is fetched and imported, unless it was before. Anything
    else is returned as it is.

    Args:
        progress: called with the number of bytes of a model that is fetched.

    Raises:
        ArtifactError: nothing of this name is finished, or no model of it was promoted.
        ModelError: see `models.catalogue.locate`.
    """
    if reference.startswith(NEWEST):
        return _newest(root, reference.removeprefix(NEWEST), stage)
    if reference.startswith(PROMOTED) and stage == "train":
        return _promoted(root, reference.removeprefix(PROMOTED))
    return catalogue.locate(root, reference, progress) if stage == "train" else reference


def _newest(root: str, name: str, stage: str) -> str:
    folder = storage.join(root, STAGE_FOLDERS[stage], name)
    uris = [storage.join(folder, entry.name) for entry in storage.entries(folder)]
    finished = [uri for uri in uris if storage.exists(storage.join(uri, storage.MANIFEST))]
    if not finished:
        raise ArtifactError(
            f"{NEWEST}{name}: nothing finished in {folder}; run `facenet {stage}` first"
        )
    return max(finished, key=finished_at)


def _promoted(root: str, name: str) -> str:
    latest = read_latest(root, name)
    if latest is None:
        raise ArtifactError(
            f"{PROMOTED}{name}: no model of this name was promoted in {root}; validate one with "
            "--min-accuracy"
        )
    return storage.join(root, STAGE_FOLDERS["train"], name, latest["fingerprint"])


def _promote(root: str, report: Artifact, report_uri: str, result: GateResult) -> str | None:
    model_uri = report.inputs[1].uri
    model = storage.read_manifest(model_uri)
    if model is None or not model_uri.startswith(f"{root}/"):
        return None  # a model from elsewhere: the report says that it passed, nothing to publish
    latest = read_latest(root, model.name)
    finished = finished_at(model_uri)
    if latest is not None and latest["finished"] > finished:
        return None
    latest_uri = _latest(root, model.name)
    published = {
        "name": model.name,
        "fingerprint": model.fingerprint,
        "model": storage.join(STAGE_FOLDERS["train"], model.name, model.fingerprint),
        "finished": finished,
        "report": report_uri.removeprefix(f"{root}/"),
        **asdict(result),
    }
    if latest != published:
        storage.write_bytes(latest_uri, (json.dumps(published, indent=2) + "\n").encode())
    return latest_uri


def _latest(root: str, name: str) -> str:
    return storage.join(root, STAGE_FOLDERS["train"], name, LATEST)


def read_latest(root: str, name: str) -> Mapping[str, Any] | None:
    """What `latest.json` says of the model of a name that is in use; None where there is none.

    Raises:
        ArtifactError: it cannot be understood. Nobody knows then which model is in use.
    """
    latest_uri = _latest(root, name)
    try:
        latest = json.loads(storage.read_bytes(latest_uri))
        # It becomes part of a path.
        if not re.fullmatch(r"[0-9a-f]{16}", latest["fingerprint"]):
            raise ValueError(f"its fingerprint is {latest['fingerprint']!r:.40}")
        return {**latest, "finished": str(latest["finished"])}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactError(
            f"{latest_uri}: cannot be understood ({error!r}); remove it and validate again"
        ) from None


def finished_at(uri: str) -> str:
    """When an artifact was finished: ISO 8601 in UTC, which sorts as text; empty if unknown."""
    try:
        return str(json.loads(storage.read_bytes(storage.join(uri, storage.RUN)))["finished"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return ""
