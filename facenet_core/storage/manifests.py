"""Artifacts: a plan says where one belongs, a manifest that it is finished.

An artifact is a folder with a `manifest.json`, which is written last: a folder without one is
unfinished and nobody reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from facenet_core.errors import ArtifactError
from facenet_core.privacy.url_secrets import public
from facenet_core.storage.files import (
    join,
    read_bytes,
    sha256,
    size,
)
from facenet_core.storage.listing import file_sizes

MANIFEST = "manifest.json"
RUN = "run.json"
FORMAT = 1
STAGE_FOLDERS = {
    "ingest": "raw",
    "align": "crops",
    "train": "models",
    "embed": "embeddings",
    "audit": "audits",
    "validate": "reports",
}
# Their files hold dates and durations: made again they say the same in other bytes.
TIMED = ("train", "validate")
_TYPES: Mapping[str, Any] = {
    "str": str,
    "int": int,
    "bool": bool,
    "list": list,
    "tuple": tuple,
    "Mapping": Mapping,
    "Any": object,
}
# The types of details, where they are there.
_DETAILS = {
    "labels": "list[str]",
    "files": "list[Mapping]",
    "metrics": "Mapping",
    "imported_from": "Mapping",
    "model_def": "str",
    "image_size": "int",
    "embedding_size": "int",
    "use_fixed_image_standardization": "bool",
    "standardization": "Mapping",
    "alignment": "Mapping",
}
_MOST_FORMATS = 64  # of a stage, tried for manifests that do not record theirs
_VERSIONED = (
    *("facenet-pipeline", "keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy", "pyarrow"),
    *("pillow", "opencv-python-headless", "mtcnn", "scikit-learn"),
)


@dataclass(frozen=True)
class Input:
    """What a stage reads: another artifact, or a source with the fingerprint of its content.

    Secrets are removed from the URI, also if the manifest of an earlier version holds some.
    """

    uri: str
    fingerprint: str

    def __post_init__(self) -> None:
        if isinstance(self.uri, str):  # a manifest may hold anything
            object.__setattr__(self, "uri", public(self.uri))


@dataclass(frozen=True)
class Part:
    """One file of an artifact. `rows` is 0 for files that are not tables."""

    name: str
    rows: int
    bytes: int
    sha256: str

    @property
    def folder(self) -> str:
        """The folder of the artifact that it lies in (`images`, `crops` …); empty for none."""
        return self.name.partition("/")[0] if "/" in self.name else ""


@dataclass(frozen=True)
class Plan:
    """A stage's output before it is made: where it belongs and everything that determines it."""

    stage: str
    name: str
    uri: str
    fingerprint: str
    config: Mapping[str, Any]
    inputs: tuple[Input, ...]
    stage_format: int

    @property
    def root(self) -> str:
        """The storage root."""
        return self.uri.rsplit("/", 3)[0]


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says of a finished artifact.

    `stage_format` is 0 where no format number gives the fingerprint, as after an edit by hand.
    """

    format: int
    stage: str
    name: str
    fingerprint: str
    config: Mapping[str, Any]
    inputs: tuple[Input, ...]
    parts: tuple[Part, ...]
    counts: Mapping[str, int]
    made_by: Mapping[str, str]
    stage_format: int
    details: Mapping[str, Any] = field(default_factory=dict)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: Any) -> str:
    """16 hex digits of SHA-256 over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def plan_stage(
    root: str,
    stage: str,
    name: str,
    config: Mapping[str, Any],
    inputs: Sequence[Input],
    stage_format: int,
) -> Plan:
    """Where the output of a stage belongs.

    Args:
        root: storage root.
        stage: a key of `STAGE_FOLDERS`.
        name: name of the data set, model or report.
        config: what determines the output, every `auto` resolved.
        inputs: what it is made from.
        stage_format: number that grows when the stage makes something else of the same input.
    """
    determines = {
        "stage": stage,
        "format": stage_format,
        "config": config,
        "inputs": [item.fingerprint for item in inputs],
    }
    digest = fingerprint(determines)
    uri = join(root, STAGE_FOLDERS[stage], name, digest)
    return Plan(stage, name, uri, digest, dict(config), tuple(inputs), stage_format)


def read_manifest(uri: str) -> Manifest | None:
    """The manifest of an artifact, or None where it is unfinished or not there.

    Raises:
        ArtifactError: there is a manifest and it cannot be understood.
    """
    manifest_uri = join(uri, MANIFEST)
    try:
        content = json.loads(read_bytes(manifest_uri))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{manifest_uri}: not JSON ({error}); remove the folder and rerun"
        ) from None
    try:
        if content["format"] != FORMAT:
            raise ArtifactError(
                f"{manifest_uri}: format {content['format']}, this version reads {FORMAT}; "
                "use the version that made it, or rerun the stage"
            )
        content["inputs"] = tuple(Input(**item) for item in content["inputs"])
        content["parts"] = tuple(Part(**part) for part in content["parts"])
        manifest = Manifest(**{"stage_format": 0, **content})
        records: tuple[Manifest | Input | Part, ...] = (manifest, *manifest.inputs, *manifest.parts)
        for value in records:
            for spec in fields(value):
                _require_type(spec.name, getattr(value, spec.name), str(spec.type))
        for field_name, expected in _DETAILS.items():
            if field_name in manifest.details:
                _require_type(field_name, manifest.details[field_name], expected)
        for part in manifest.parts:
            if part.name.startswith("/") or {"", ".", ".."} & set(part.name.split("/")):
                raise ValueError(f"{part.name!r:.40} is no file within it")
        return replace(manifest, stage_format=_format_of(manifest))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{manifest_uri}: not a manifest ({error}); rerun the stage") from None


def _format_of(manifest: Manifest) -> int:
    """The stage's format number that gives the fingerprint; 0 where none does.

    Manifests did not always record it: of those, the first numbers are tried.
    """
    made = (manifest.stage, manifest.name, manifest.config, manifest.inputs)
    numbers = [manifest.stage_format] if manifest.stage_format else range(1, _MOST_FORMATS)
    fitting = (n for n in numbers if plan_stage("", *made, n).fingerprint == manifest.fingerprint)
    return next(fitting, 0)


def _require_type(name: str, value: Any, expected: str) -> None:
    """Check a value against a type such as `int`, `Mapping[str, int]` or `list[str]`.

    Raises:
        TypeError: it is of another; whole numbers are those of bytes and rows, 0 to 2^63.
    """
    outer, _, inner = expected.removesuffix("]").partition("[")
    if not isinstance(value, _TYPES[outer]) or (isinstance(value, bool) and outer == "int"):
        raise TypeError(f"{name} is {value!r:.40}, expected {expected}")
    if outer == "int" and not 0 <= value < 2**63:
        raise TypeError(f"{name} is {value!r:.40}, expected a whole number from 0")
    of_each = inner.rpartition(", ")[2]
    if outer in ("Mapping", "list") and of_each:
        for key, each in value.items() if outer == "Mapping" else enumerate(value):
            _require_type(f"{name}.{key}", each, of_each)


def damaged_parts(uri: str, manifest: Manifest) -> list[str]:
    """Names of parts that are missing or whose size is not what the manifest says."""
    return wrong_parts(uri, manifest.parts)


def wrong_parts(uri: str, parts: Sequence[Part]) -> list[str]:
    """Names of those among the parts that are not below `uri` in the size they should have."""
    sizes = file_sizes(uri)
    return [part.name for part in parts if sizes.get(part.name) != part.bytes]


def finished(plan: Plan) -> Manifest | None:
    """The manifest if this plan's artifact is complete, else None."""
    manifest = read_manifest(plan.uri)
    if manifest is None or damaged_parts(plan.uri, manifest):
        return None
    return manifest


def describe_file(uri: str, name: str, rows: int = 0) -> Part:
    """The manifest's entry for the file `name` below `uri`."""
    file_uri = join(uri, name)
    file_bytes = size(file_uri)
    if file_bytes is None:
        raise ArtifactError(f"{file_uri}: was not written")
    return Part(name, rows, file_bytes, sha256(file_uri))


@cache
def made_by() -> dict[str, str]:
    """Versions of this package and of the packages that can change its output."""
    versions = {}
    for package in _VERSIONED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def pretty_json(value: Any) -> bytes:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return (text + "\n").encode()
