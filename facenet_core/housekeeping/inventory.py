"""What a storage root holds: its artifacts with their state, and everything beside them.

One listing for each data set, model or report name, and only sums of it are kept: a root may hold
thousands of artifacts of hundreds of thousands of objects.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from facenet_core import storage
from facenet_core.errors import ArtifactError, FacenetError, StorageError
from facenet_core.housekeeping import objects, promotion
from facenet_core.housekeeping.objects import Object
from facenet_core.housekeeping.promotion import LATEST
from facenet_core.privacy.deny_list import FORGOTTEN
from facenet_core.storage import Artifact, Input, Manifest
from facenet_core.training.checkpoints import ATTEMPTS

State = Literal["finished", "unfinished", "damaged"]
RESULTS = ".prefect"
DOWNLOADS = "downloads"
STAGES = {folder: stage for stage, folder in storage.STAGE_FOLDERS.items()}

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_TEMPORARY = re.compile(r"(?:.*/)?\..+\.tmp|\.probe-[0-9a-f]{32}")
_THREADS = 16  # manifests that are read at a time


@dataclass(frozen=True, eq=False)
class StoredArtifact:
    """A folder `{root}/{stage folder}/{name}/{fingerprint}`.

    Attributes:
        stage: a key of `storage.STAGE_FOLDERS`.
        state: `finished`; `unfinished` without a manifest; `damaged` where the manifest cannot be
            understood or a part is not there in full size.
        why: what is damaged.
        bytes, objects: of all files in the folder.
        attempts: bytes of checkpoints and logs of single tries.
        newest: when the newest object was written.
        finished: when the stage said that it was done; None where it is not.
        inputs: what it was made from.
        promoted: a model in use: `latest.json` names it.
    """

    stage: str
    name: str
    fingerprint: str
    uri: str
    state: State
    why: str
    bytes: int
    objects: int
    attempts: int
    newest: datetime
    finished: datetime | None
    counts: Mapping[str, int]
    inputs: tuple[Input, ...]
    temporary: tuple[Object, ...]
    promoted: bool = False

    @property
    def label(self) -> str:
        """How tables call it: `crops/lfw/01688960e6010560`."""
        return f"{storage.STAGE_FOLDERS[self.stage]}/{self.name}/{self.fingerprint}"


@dataclass(frozen=True)
class Beside:
    """What lies in a root and is no artifact.

    Attributes:
        kind: `results` (what Prefect remembers of shards), `downloads`, `temporary`, or `other`.
        label: its path below the root.
    """

    kind: Literal["results", "downloads", "temporary", "other"]
    label: str
    bytes: int
    objects: int
    newest: datetime


@dataclass(frozen=True)
class Inventory:
    """All that a root holds.

    Attributes:
        links: paths of links, which are not followed.
    """

    root: str
    artifacts: tuple[StoredArtifact, ...]
    beside: tuple[Beside, ...]
    links: tuple[str, ...]

    def of(self, stage: str, fingerprint: str) -> list[StoredArtifact]:
        return [a for a in self.artifacts if (a.stage, a.fingerprint) == (stage, fingerprint)]


def take(root: str) -> Inventory:
    """Look at everything below a root.

    Raises:
        StorageError: it cannot be read.
        ArtifactError: there is nothing at all.
    """
    try:
        return _take(storage.absolute(root))
    except OSError as error:
        raise StorageError(f"{root}: cannot be listed: {error}") from error


def _take(root: str) -> Inventory:
    folders, files = objects.children(root)
    if not folders and not files:
        raise ArtifactError(f"{root}: nothing is stored here; choose another root with --storage")
    artifacts: list[StoredArtifact] = []
    beside: list[Beside] = []
    links: list[str] = []
    with ThreadPoolExecutor(_THREADS) as readers:
        for folder in folders:
            folder_uri = storage.join(root, folder)
            if folder not in STAGES:
                beside += _grouped(folder, objects.below(folder_uri))
                continue
            names, loose = objects.children(folder_uri)
            beside += _loose(folder, loose, links)
            for name in names:
                of_name, others = _of_name(root, folder, name, links)
                artifacts += readers.map(lambda one: _artifact(root, *one), of_name)
                beside += others
    beside += _loose("", files, links)
    return Inventory(root, tuple(_marked(root, artifacts)), tuple(beside), tuple(links))


def named(inventory: Inventory, uris: Sequence[str]) -> list[StoredArtifact]:
    """The artifacts of these URIs (or labels such as `crops/lfw/01688960e6010560`).

    Raises:
        ArtifactError: one is not an artifact of this root.
    """
    by_reference = {a.uri: a for a in inventory.artifacts} | {
        a.label: a for a in inventory.artifacts
    }
    selected = []
    for uri in uris:
        artifact = by_reference.get(uri.rstrip("/")) or by_reference.get(storage.absolute(uri))
        if artifact is None:
            raise ArtifactError(
                f"{uri}: no artifact of {inventory.root}; `facenet storage ls` lists them, and "
                "--storage chooses another root"
            )
        selected.append(artifact)
    return list(dict.fromkeys(selected))


def opened(stored: StoredArtifact) -> Artifact | None:
    """The artifact with its manifest, or None where there is none that can be understood."""
    try:
        return storage.find_artifact(stored.uri)
    except ArtifactError:
        return None


Found = tuple[str, str, str, dict[str, int], list[Object]]


def _of_name(
    root: str, folder: str, name: str, links: list[str]
) -> tuple[list[Found], list[Beside]]:
    """The artifact folders of a data set, model or report, and what lies beside them."""
    name_uri = storage.join(root, folder, name)
    listed: dict[str, list[Object]] = defaultdict(list)
    others: list[Object] = []
    for file in objects.below(name_uri):
        fingerprint, slash, inner = file.name.partition("/")
        if file.link:
            links.append(f"{folder}/{name}/{file.name}")
        if slash and _FINGERPRINT.fullmatch(fingerprint):
            listed[fingerprint].append(Object(inner, file.bytes, file.modified, file.link))
        elif file.name != LATEST:
            others.append(file)
    artifacts = [
        (folder, name, fingerprint, {o.name: o.bytes for o in inside if not o.link}, inside)
        for fingerprint, inside in sorted(listed.items())
    ]
    return artifacts, _grouped(f"{folder}/{name}", others)


def _artifact(
    root: str, folder: str, name: str, fingerprint: str, sizes: dict[str, int], inside: list[Object]
) -> StoredArtifact:
    uri = storage.join(root, folder, name, fingerprint)
    state: State = "unfinished"
    why, finished = "", None
    manifest: Manifest | None = None
    if storage.MANIFEST in sizes:
        state, why = "finished", ""
        try:
            manifest = storage.read_manifest(uri)
        except FacenetError as error:
            state, why = "damaged", str(error)
        if manifest is not None:
            wrong = [p.name for p in manifest.parts if sizes.get(p.name) != p.bytes]
            if manifest.fingerprint != fingerprint or manifest.stage != STAGES[folder]:
                state, why = "damaged", "its manifest is that of another artifact"
            elif wrong:
                more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
                state, why = "damaged", f"missing or cut: {', '.join(wrong[:3])}{more}"
            finished = _finished(uri)
    return StoredArtifact(
        STAGES[folder],
        name,
        fingerprint,
        uri,
        state,
        why,
        sum(file.bytes for file in inside),
        len(inside),
        sum(file.bytes for file in inside if is_attempt(file.name)),
        max(file.modified for file in inside),
        finished,
        manifest.counts if manifest else {},
        manifest.inputs if manifest else (),
        tuple(file for file in inside if is_temporary(file.name)),
    )


def is_attempt(name: str) -> bool:
    """Whether a file of a model's folder is a checkpoint or log of a single try."""
    return name.startswith(f"{ATTEMPTS}/")


def is_temporary(name: str) -> bool:
    """Whether a writer gave a file this name for the time that it takes to write it."""
    return _TEMPORARY.fullmatch(name) is not None


def _finished(uri: str) -> datetime | None:
    try:
        finished = datetime.fromisoformat(promotion.finished_at(uri)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return finished if 1970 < finished.year < 9999 else None  # else no time zone can show it


def _marked(root: str, artifacts: Sequence[StoredArtifact]) -> Iterator[StoredArtifact]:
    """In the order of the pipeline, with the models in use marked."""
    names = {artifact.name for artifact in artifacts if artifact.stage == "train"}
    latest = {name: promotion.read_latest(root, name) for name in names}
    in_use = {(name, content["fingerprint"]) for name, content in latest.items() if content}
    stages = list(storage.STAGE_FOLDERS)
    for a in sorted(artifacts, key=lambda a: (stages.index(a.stage), a.name, a.fingerprint)):
        yield replace(a, promoted=a.stage == "train" and (a.name, a.fingerprint) in in_use)


def _loose(folder: str, objects_beside: Sequence[Object], links: list[str]) -> list[Beside]:
    """Files and links right in the root or in a stage's folder."""
    links += [f"{folder}/{one.name}".lstrip("/") for one in objects_beside if one.link]
    return _grouped(
        folder, [one for one in objects_beside if not one.link and one.name != FORGOTTEN]
    )


def _grouped(folder: str, objects_beside: Iterator[Object] | Sequence[Object]) -> list[Beside]:
    """Objects beside the artifacts, summed up by what they are."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for one in objects_beside:
        parts = one.name.split("/")
        kind = "other"
        label = f"{folder}/{one.name}".lstrip("/")
        if folder == RESULTS and len(parts) == 4 and parts[0] == "shards":
            kind, label = "results", "/".join([folder, *parts[:3]])
        elif folder == DOWNLOADS:
            kind, label = "downloads", "/".join([folder, *parts[:1]])
        if is_temporary(one.name) or (folder == DOWNLOADS and _is_part(one.name)):
            kind, label = "temporary", f"{folder}/{one.name}".lstrip("/")
        sums = groups.setdefault((kind, label), [0, 0, one.modified])
        sums[0] += one.bytes
        sums[1] += 1
        sums[2] = max(sums[2], one.modified)
    return [Beside(kind, label, *sums) for (kind, label), sums in groups.items()]  # type: ignore


def _is_part(name: str) -> bool:
    """Whether this is a download that did not come to its end, or the note of one."""
    last = name.rsplit("/", 1)[-1]
    return last.startswith(".") and last.endswith((".part", ".part.json"))
