"""Whether artifacts are what their manifests say: every part's bytes, SHA-256, rows and footer.

Parts are read once, in blocks, several at a time.
"""

from __future__ import annotations

import hashlib
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from facenet_core import storage
from facenet_core.config import (
    AlignConfig,
    AuditConfig,
    Config,
    EmbedConfig,
    IngestConfig,
    TrainConfig,
    ValidateConfig,
    as_options,
)
from facenet_core.errors import ArtifactError
from facenet_core.housekeeping import objects
from facenet_core.housekeeping.inventory import StoredArtifact, opened
from facenet_core.privacy.deny_list import REDACTED
from facenet_core.storage import Artifact, Part, parquet

_THREADS = 8
_TABLES = ("images", "skipped", "crops", "rejects", "embeddings")
_BLOCK = 2**20
_MODELS: Mapping[str, type[Config]] = {
    "ingest": IngestConfig,
    "align": AlignConfig,
    "train": TrainConfig,
    "embed": EmbedConfig,
    "audit": AuditConfig,
    "validate": ValidateConfig,
}


@dataclass(frozen=True)
class Damage:
    """Something that is not as its manifest says. `part` is empty for the artifact as a whole."""

    artifact: StoredArtifact
    part: str
    what: str


@dataclass(frozen=True)
class Checked:
    """What was read, and what is wrong."""

    artifacts: int
    parts: int
    bytes: int
    damages: tuple[Damage, ...]


def verify(
    artifacts: Iterable[StoredArtifact], progress: Callable[[int], None] = lambda done: None
) -> Checked:
    """Read every part of artifacts and hold it against their manifests.

    Args:
        progress: called with the bytes read, now and then, from any thread.
    """
    damages: list[Damage] = []
    checked = parts = size = 0
    with ThreadPoolExecutor(_THREADS) as readers:
        for stored in artifacts:
            checked += 1
            try:
                artifact = storage.find_artifact(stored.uri)
            except ArtifactError as error:
                damages.append(Damage(stored, "", str(error)))
                continue
            if artifact is None:
                damages.append(Damage(stored, "", "unfinished: it has no manifest"))
                continue
            check = partial(_wrong, artifact, progress=progress)
            for part, what in zip(artifact.parts, readers.map(check, artifact.parts), strict=True):
                parts += 1
                size += part.bytes
                if what:
                    damages.append(Damage(stored, part.name, what))
            damages += [Damage(stored, "", what) for what in _unbalanced(stored, artifact)]
    return Checked(checked, parts, size, tuple(damages))


def set_aside(damages: Iterable[Damage]) -> list[StoredArtifact]:
    """Make damaged artifacts unfinished: remove the manifest, and then the parts that are damaged.

    The stage then makes these parts again, and no others.

    Returns:
        The artifacts changed.
    """
    changed: dict[str, tuple[StoredArtifact, list[str]]] = {}
    for damage in damages:
        _, names = changed.setdefault(damage.artifact.uri, (damage.artifact, []))
        names += [damage.part] if damage.part else []
    for uri, (_, names) in changed.items():
        objects.remove(uri, [storage.MANIFEST, *names])
    return [artifact for artifact, _ in changed.values()]


def remake(stored: StoredArtifact) -> str:
    """The command that makes an artifact again, with the options that are not defaults."""
    artifact = opened(stored)
    if artifact is None:
        return f"facenet {stored.stage} …, as it was made before"
    inputs = [parent.uri for parent in artifact.inputs]
    if artifact.stage == "validate" and len(inputs) > 2:
        inputs = [inputs[2], inputs[1]]  # embeddings in place of their crops
    words = ["facenet", artifact.stage, *inputs[:2]]
    option = {"embed": "--model", "audit": "--against"}.get(artifact.stage)
    if option and len(inputs) > 1:
        words.insert(3, option)
    model = _MODELS[artifact.stage]
    if artifact.stage in ("ingest", "train"):
        words = [*words[:3], "--name", artifact.name]
    elsewhere = {"name", "source", "shards", "pairs"}  # or a digest instead of a path
    elsewhere |= {"threshold"} if artifact.config.get("validated_by") else set()
    uri_of = {source.fingerprint: source.uri for source in artifact.inputs}
    values = {
        key: uri_of.get(value, value) if isinstance(value, str) else value
        for key, value in artifact.config.items()
        if key not in elsewhere
    }
    return shlex.join([*words, *as_options(model, values)])


def _wrong(artifact: Artifact, part: Part, progress: Callable[[int], None]) -> str:
    """What is wrong with a part; empty where nothing is."""
    part_uri = artifact.file_uri(part.name)
    digest, size = hashlib.sha256(), 0
    try:
        with storage.open_input(part_uri) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
                progress(len(block))
    except FileNotFoundError:
        return "missing"
    except Exception as error:  # object stores raise their own kinds
        return f"cannot be read: {error}"
    if size != part.bytes:
        return f"{size:,} bytes, expected {part.bytes:,}"
    if digest.hexdigest() != part.sha256:
        return (
            f"another content: its SHA-256 is {digest.hexdigest()[:12]}…, not {part.sha256[:12]}…"
        )
    if not part.name.endswith(".parquet"):
        return ""
    try:
        rows = parquet.count_rows(part_uri)
    except ArtifactError as error:
        return str(error)
    if part.rows and rows != part.rows:
        return f"{rows:,} rows, expected {part.rows:,}"
    if part.folder in _TABLES and not parquet.part_is_current(part_uri, artifact.fingerprint):
        return "its footer names another artifact"
    return ""


def _unbalanced(stored: StoredArtifact, artifact: Artifact) -> list[str]:
    """What does not add up in the counts of a manifest."""
    if artifact.fingerprint != stored.fingerprint:
        return [f"its manifest is that of {artifact.fingerprint}"]
    counts = defaultdict(int, artifact.counts)
    rows = _rows(artifact.parts)
    sums: list[tuple[str, int, int]] = []
    if stored.stage == "ingest" and "seen" in counts:
        parts = counts["images"] + counts["skipped"] + counts[REDACTED]
        sums += [("seen", counts["seen"], parts), ("images", counts["images"], rows["images"])]
        sums.append(("skipped", counts["skipped"], rows["skipped"]))
    if stored.stage == "align":
        sums += [("images", counts["images"], counts["aligned"] + counts["rejects"])]
        sums += [(name, counts[name], rows[name]) for name in ("crops", "rejects")]
    if stored.stage == "embed":
        sums += [(name, counts[name], rows["embeddings"]) for name in ("crops", "embeddings")]
    return [f"counts {name} {n:,}, its parts add up to {m:,}" for name, n, m in sums if n != m]


def _rows(parts: Sequence[Part]) -> Mapping[str, int]:
    rows = dict.fromkeys(_TABLES, 0)
    for part in parts:
        if part.folder in rows:
            rows[part.folder] += part.rows
    return rows
