"""Where artifacts live: URIs, file systems, whole-or-nothing writes, fingerprints and manifests.

A URI is anything fsspec understands (`s3://bucket/key`, `memory://x`) or a plain local path. An
artifact is a folder with a `manifest.json`, which is written last: a folder without one is
unfinished and nobody reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from facenet_core.errors import ArtifactError, StorageError

MANIFEST = "manifest.json"
RUN = "run.json"
FORMAT = 1
STAGE_FOLDERS = {"ingest": "raw", "align": "crops", "train": "models", "validate": "reports"}
_ENGINES = ("keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy", "pyarrow", "pillow")
_ENGINES += ("opencv-python-headless", "mtcnn", "scikit-learn")


@dataclass(frozen=True)
class Input:
    """What a stage was given: another artifact, or a source with its content's fingerprint."""

    uri: str
    fingerprint: str


@dataclass(frozen=True)
class Part:
    """One file of an artifact. `rows` is 0 for files that are not tables."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Plan:
    """A stage's output before it is made: where it belongs and everything that determines it."""

    stage: str
    name: str
    uri: str
    fingerprint: str
    config: Mapping[str, Any]
    inputs: tuple[Input, ...]


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says of a finished artifact."""

    format: int
    stage: str
    name: str
    fingerprint: str
    config: Mapping[str, Any]
    inputs: tuple[Input, ...]
    parts: tuple[Part, ...]
    counts: Mapping[str, int]
    made_by: Mapping[str, str]
    details: Mapping[str, Any] = field(default_factory=dict)


# --- URIs and files ---------------------------------------------------------------------------


def file_system(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI and the path within it.

    Raises:
        StorageError: the protocol is unknown or its package is not installed.
    """
    try:
        return fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise StorageError(f"{uri}: cannot be used as storage: {error}") from None


def is_local(uri: str) -> bool:
    return isinstance(file_system(uri)[0], LocalFileSystem)


def join(uri: str, *names: str) -> str:
    return posixpath.join(uri, *names)


def exists(uri: str) -> bool:
    fs, path = file_system(uri)
    return fs.exists(path)


def size(uri: str) -> int | None:
    """Bytes of a file, or None where there is none."""
    fs, path = file_system(uri)
    try:
        return int(fs.info(path)["size"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_bytes(uri: str) -> bytes:
    """The whole file.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it cannot be read.
    """
    fs, path = file_system(uri)
    with _reported(uri, "read"):
        return fs.cat_file(path)


@contextmanager
def open_input(uri: str) -> Iterator[Any]:
    """A binary, seekable file object of `uri`."""
    fs, path = file_system(uri)
    with _reported(uri, "read"), fs.open(path, "rb") as file:
        yield file


@contextmanager
def new_file(uri: str) -> Iterator[Path]:
    """A local path to write; `uri` appears, whole, when the block ends without an exception.

    On local storage the file is renamed into place, elsewhere uploaded. Either way a reader never
    sees half of it, and an exception or a killed process leaves `uri` as it was.

    Raises:
        StorageError: the place cannot be written.
    """
    fs, path = file_system(uri)
    if isinstance(fs, LocalFileSystem):
        target = Path(path)
        with _reported(uri, "written"):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.parent / f".{target.name}.{_writer()}.{uuid.uuid4().hex}.tmp"
            try:
                yield temporary
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory(prefix="facenet-") as folder:
        temporary = Path(folder) / posixpath.basename(path)
        yield temporary
        with _reported(uri, "written"):
            fs.put_file(str(temporary), path)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file whole or not at all. Raises StorageError where it cannot be written."""
    with new_file(uri) as path:
        path.write_bytes(data)


def copy_file(source: Path, uri: str) -> None:
    """Copy a local file into storage, whole or not at all."""
    with new_file(uri) as path:
        shutil.copyfile(source, path)


def list_files(uri: str) -> list[str]:
    """URIs of all finished files below a folder, sorted; empty where there is no folder."""
    fs, path = file_system(uri)
    fs.invalidate_cache()
    if not fs.exists(path):
        return []
    names = (posixpath.relpath(found, path) for found in fs.find(path))
    return sorted(join(uri, name) for name in names if not name.endswith(".tmp"))


def remove(uri: str) -> None:
    """Remove a file or a folder with all that it holds; nothing happens where there is none."""
    fs, path = file_system(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def absolute(uri: str) -> str:
    """The URI with a local path made absolute, and no slash at its end."""
    if "://" in uri:
        return uri.rstrip("/")
    return str(Path(uri).expanduser().absolute())


def default_root() -> str:
    """$FACENET_STORAGE, or the folder `facenet-store` in the working folder."""
    return absolute(os.environ.get("FACENET_STORAGE") or "facenet-store")


def check_writable(root: str) -> None:
    """Fail early, before hours of work.

    Raises:
        StorageError: nothing can be written below `root`.
    """
    probe = join(root, f".probe-{uuid.uuid4().hex}")
    try:
        write_bytes(probe, b"facenet")
        remove(probe)
    except Exception as error:  # object stores raise their own kinds: no bucket, no credentials
        message = str(error) if isinstance(error, StorageError) else f"{root}: {error!r}"
        raise StorageError(f"{message}. Choose another storage root with --storage.") from None


def _writer() -> str:
    """Who writes a temporary file: host and process."""
    return f"{socket.gethostname().replace('.', '-')}.{os.getpid()}"


def sweep(uri: str) -> None:
    """Remove the temporary files that processes of this host left when they were killed."""
    if not is_local(uri):
        return
    for file in Path(file_system(uri)[1]).rglob(".*.tmp"):
        *_, host, process, _, _ = ("", "", *file.name.split("."))
        if host == _writer().split(".")[0] and process.isdigit() and not _alive(int(process)):
            file.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextmanager
def _reported(uri: str, verb: str) -> Iterator[None]:
    """Turn what file systems raise into a StorageError; a missing file stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if isinstance(error, NotADirectoryError) and verb == "read":
            raise FileNotFoundError(uri) from error
        reason = error.strerror or str(error) or type(error).__name__
        raise StorageError(f"{uri}: cannot be {verb}: {reason}") from error


# --- Fingerprints -----------------------------------------------------------------------------


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """16 hex digits of SHA-256 over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def sha256(uri: str) -> str:
    """SHA-256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open_input(uri) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


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
        stage: `ingest`, `align`, `train` or `validate`.
        name: name of the data set, model or report.
        config: what determines the output, every `auto` resolved.
        inputs: what it is made from.
        stage_format: number that grows when the stage makes something else of the same input.
    """
    determines = {
        "stage": stage,
        "format": stage_format,
        "config": config,
        "inputs": [given.fingerprint for given in inputs],
    }
    digest = fingerprint(determines)
    uri = join(root, STAGE_FOLDERS[stage], name, digest)
    return Plan(stage, name, uri, digest, dict(config), tuple(inputs))


# --- Manifests --------------------------------------------------------------------------------


def read_manifest(uri: str) -> Manifest | None:
    """The manifest of an artifact, or None where it is unfinished or not there.

    Raises:
        ArtifactError: there is a manifest and it cannot be understood.
    """
    place = join(uri, MANIFEST)
    try:
        content = json.loads(read_bytes(place))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ArtifactError(f"{place}: not JSON ({error}); remove the folder and rerun") from None
    try:
        if content["format"] != FORMAT:
            raise ArtifactError(
                f"{place}: format {content['format']}, this version reads {FORMAT}; "
                "use the version that made it, or rerun the stage"
            )
        content["inputs"] = tuple(Input(**given) for given in content["inputs"])
        content["parts"] = tuple(Part(**part) for part in content["parts"])
        return Manifest(**content)
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{place}: not a manifest ({error}); rerun the stage") from None


def open_artifact(uri: str, stage: str) -> Manifest:
    """The manifest of a finished artifact of `stage`, its parts checked to be there in full size.

    Raises:
        ArtifactError: not an artifact, not finished, of another stage, or with damaged parts.
    """
    manifest = read_manifest(uri)
    if manifest is None:
        raise ArtifactError(
            f"{uri}: no finished artifact here (no {MANIFEST}); expected the folder that "
            f"`facenet {stage}` printed"
        )
    if manifest.stage != stage:
        raise ArtifactError(f"{uri}: made by `{manifest.stage}`, expected an output of `{stage}`")
    damaged = damaged_parts(uri, manifest)
    if damaged:
        raise ArtifactError(
            f"{uri}: {len(damaged)} of {len(manifest.parts)} parts are missing or cut "
            f"({', '.join(damaged[:3])}); run the `{stage}` stage again to remake them"
        )
    return manifest


def damaged_parts(uri: str, manifest: Manifest) -> list[str]:
    """Names of parts that are missing or whose size is not what the manifest says."""
    return wrong_parts(uri, manifest.parts)


def is_whole(uri: str) -> bool:
    """Whether a finished artifact lies here, with all its parts in full size."""
    manifest = read_manifest(uri)
    return manifest is not None and not damaged_parts(uri, manifest)


def wrong_parts(uri: str, parts: Sequence[Part]) -> list[str]:
    """Names of those among the parts that are not below `uri` in the size they should have."""
    fs, path = file_system(uri)
    fs.invalidate_cache()
    sizes = {
        posixpath.relpath(found, path): info["size"]
        for found, info in fs.find(path, detail=True).items()
    }
    return [part.name for part in parts if sizes.get(part.name) != part.bytes]


def finished(plan: Plan) -> Manifest | None:
    """The manifest of a plan that is already carried out and whole, else None."""
    manifest = read_manifest(plan.uri)
    if manifest is None or damaged_parts(plan.uri, manifest):
        return None
    return manifest


def publish(
    plan: Plan,
    parts: Sequence[Part],
    counts: Mapping[str, int],
    run: Mapping[str, Any],
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Check that every part is there, then write `run.json` and, last, `manifest.json`.

    Where a run beside this one was faster, its manifest stays.

    Args:
        run: times and run id of this try, for `run.json`; the host is added.
        details: what a reader of this kind of artifact needs (labels of a model, a threshold).

    Raises:
        ArtifactError: a part is missing or its size changed since it was written.
    """
    if (published := finished(plan)) is not None:
        return published
    manifest = Manifest(
        FORMAT,
        plan.stage,
        plan.name,
        plan.fingerprint,
        plan.config,
        plan.inputs,
        tuple(sorted(parts, key=lambda part: part.name)),
        dict(sorted(counts.items())),
        made_by(),
        dict(details or {}),
    )
    sweep(plan.uri)
    damaged = damaged_parts(plan.uri, manifest)
    if damaged:
        raise ArtifactError(f"{plan.uri}: parts vanished before they were published: {damaged[:5]}")
    stamp = {"host": socket.gethostname(), "finished": datetime.now(UTC).isoformat(), **run}
    write_bytes(join(plan.uri, RUN), _pretty(stamp))
    write_bytes(join(plan.uri, MANIFEST), _pretty(asdict(manifest)))
    return manifest


def describe_file(uri: str, name: str, rows: int = 0) -> Part:
    """The manifest's entry for the file `name` below `uri`."""
    place = join(uri, name)
    found = size(place)
    if found is None:
        raise ArtifactError(f"{place}: was not written")
    return Part(name, rows, found, sha256(place))


@cache
def made_by() -> dict[str, str]:
    """Versions of this package and of whatever may change a byte of the output."""
    versions = {}
    for package in ("facenet-pipeline", *_ENGINES):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode()
