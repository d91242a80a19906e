"""Where a person is found in a storage root and in the caches of this machine."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.alignment.samples import CROPS_SHEET, REJECTS_SHEET
from facenet_core.cache import cache_folder, configured_folder
from facenet_core.datasets.memo import MEMO, Memo
from facenet_core.errors import ArtifactError, StorageError
from facenet_core.housekeeping.inventory import Inventory, StoredArtifact, opened
from facenet_core.privacy.redact import row_filter
from facenet_core.storage import Artifact, Part, parquet, trained_people

_THREADS = 8
_EMBEDDINGS = "embeddings.parquet"


@dataclass(frozen=True)
class PersonRows:
    """How many rows of a raw, crops or embeddings artifact are about a person.

    Attributes:
        rows: in all of its tables.
        similar: identities whose names differ in case and punctuation alone.
    """

    rows: int
    similar: frozenset[str]


@dataclass(frozen=True)
class Affected:
    """A model, report or audit that has to do with a person, and why."""

    artifact: StoredArtifact
    why: str


def in_tables(artifact: Artifact, identity: str) -> PersonRows:
    """Look for a person in the tables of raw rows, crops or embeddings; pictures are not read.

    Raises:
        ArtifactError: a table is missing or damaged.
    """
    dropped = row_filter(artifact, lambda name: _nfc(name) == identity)
    tables = [part for part in artifact.parts if part.folder in _COLUMNS]

    def look(part: Part) -> tuple[int, frozenset[str]]:
        column = _COLUMNS[part.folder]
        table = parquet.read_table(artifact.file_uri(part.name), [column])
        similar: frozenset[str] = frozenset()
        if part.folder != "skipped":
            similar = _similar(table["identity"].unique(), identity)
        return sum(dropped(part.folder, table)), similar

    with ThreadPoolExecutor(_THREADS) as readers:
        counted = list(readers.map(look, tables))
    similar = frozenset().union(*(names for _, names in counted))
    return PersonRows(sum(rows for rows, _ in counted), similar)


_COLUMNS = {
    **dict.fromkeys(("images", "crops", "rejects", "embeddings"), "identity"),
    "skipped": "path",
}


def _holds(names: pa.StringArray, identity: str) -> bool:
    return bool(pc.any(pc.equal(pc.utf8_normalize(names, "NFC"), identity)).as_py())


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _similar(names: pa.ChunkedArray, identity: str) -> frozenset[str]:
    plain = _plain(identity)
    return frozenset(n for n in names.to_pylist() if _nfc(n) != identity and _plain(n) == plain)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def in_unfinished(artifact: StoredArtifact, identity: str) -> bool:
    """Whether an unfinished folder of these holds the person, or something unreadable.

    Nobody can tell who is on a sheet of samples, so a folder with one counts.
    """
    for uri in storage.list_files(artifact.uri):
        if uri.endswith((CROPS_SHEET, REJECTS_SHEET)):
            return True
        folder = uri.removeprefix(artifact.uri).strip("/").partition("/")[0]
        if folder not in _COLUMNS:
            continue
        try:
            column = parquet.read_table(uri, [_COLUMNS[folder]])[_COLUMNS[folder]]
        except ArtifactError:
            return True
        names = column.to_pylist()
        if folder == "skipped":
            names = [name for path in names for name in path.split("/")]
        if identity in map(_nfc, names):
            return True
    return bool(artifact.temporary)


def affected(inventory: Inventory, identity: str, rewritten: Collection[str]) -> list[Affected]:
    """The models, reports and audits that have to do with a person, models before reports.

    A model is affected if the person is one of its classes, or it goes on from such a model; a
    report, if it holds embeddings of the person, is about such crops or such a model, or compares
    such reports; an audit, if it names the person, whose photographs it may show.

    Args:
        rewritten: fingerprints of the raw and crops artifacts that hold the person.
    """
    by_artifact: dict[tuple[str, str], Affected] = {}
    waiting = [a for a in inventory.artifacts if a.stage in ("train", "audit", "validate")]
    artifacts = {stored: opened(stored) for stored in waiting}
    while True:
        before = len(by_artifact)
        for stored, artifact in artifacts.items():
            if (stored.stage, stored.fingerprint) not in by_artifact:
                why = _why(stored, artifact, identity, rewritten, by_artifact)
                if why:
                    by_artifact[(stored.stage, stored.fingerprint)] = Affected(stored, why)
        if len(by_artifact) == before:  # models of models, comparisons of reports
            return sorted(by_artifact.values(), key=lambda one: one.artifact.stage)


def _why(
    stored: StoredArtifact,
    artifact: Artifact | None,
    identity: str,
    rewritten: Collection[str],
    by_artifact: Mapping[tuple[str, str], Affected],
) -> str:
    if artifact is None:
        what = {"train": "training", "audit": "audit"}.get(stored.stage, "validation")
        return f"{stored.state} {what}: what it is made from is not known" if rewritten else ""
    inputs = [parent.fingerprint for parent in artifact.inputs]
    models = [by_artifact[("train", i)].artifact for i in inputs if ("train", i) in by_artifact]
    if stored.stage == "train":
        labels = trained_people.read(artifact)
        if labels is not None and _holds(labels, identity):
            return "trained on the person: weights, labels and logs with pictures"
        if labels is None and any(parent in rewritten for parent in inputs):
            return "made from crops that hold the person"
        return f"goes on from {models[0].label}" if models else ""
    if stored.stage == "audit":
        rows = _audited(artifact, identity)
        return f"has {rows} rows about the person, and may show photographs" if rows else ""
    rows = _embedded(artifact, identity)
    if rows:
        return f"holds {rows} embeddings of the person, and may show photographs"
    if any(parent in rewritten for parent in inputs):
        return "made from crops that hold the person; its pairs may name photographs"
    if models:
        return f"about {models[0].label}"
    reports = [
        by_artifact[("validate", i)].artifact for i in inputs if ("validate", i) in by_artifact
    ]
    return f"compares {reports[0].label}" if reports else ""


def _embedded(report: Artifact, identity: str) -> int:
    if not report.has_file(_EMBEDDINGS):
        return 0
    with suppress(ArtifactError):
        table = parquet.read_table(report.file_uri(_EMBEDDINGS), ["identity"])
        names = table["identity"].to_pylist()
        return sum(_nfc(name) == identity for name in names)
    return 0


def _audited(audit: Artifact, identity: str) -> int:
    """Rows of an audit's tables about a person; one that cannot be read counts."""
    rows = 0
    for part in audit.parts:
        if not part.name.endswith(".parquet"):
            continue
        try:
            table = parquet.read_table(audit.file_uri(part.name))
        except ArtifactError:
            return 1
        for column in {"identity", "other_identity"} & {*table.column_names}:
            names = table[column].drop_null().to_pylist()
            rows += sum(_nfc(name) == identity for name in names)
    return rows


def kept_downloads(root: str, raws: Iterable[Artifact]) -> list[str]:
    """Downloaded files below the root that these raw artifacts were made from, and their notes."""
    uris = []
    for raw in raws:
        for file in raw.details.get("files", ()):
            uri = str(file.get("uri", ""))
            if uri.startswith(f"{root}/downloads/") and ".." not in uri.split("/"):
                uris += [file for file in (uri, f"{uri}.json") if storage.exists(file)]
    return list(dict.fromkeys(uris))


def cached() -> list[Path]:
    """Files made of crops in this machine's cache folder: copies, distances, samples, indexes.

    All of them, whatever artifact they were made of: it may be gone, and they are made again.
    """
    kinds = ("crops", "distances", "faces", "samples")
    files = (path for kind in kinds for path in (configured_folder() / kind).rglob("*"))
    return sorted(path for path in files if path.is_file())


def forget_paths(identity: str) -> None:
    """Take the paths that name a person out of the memo of files that were hashed.

    Raises:
        StorageError: another process holds the memo, or it cannot be written.
    """
    memo_file = configured_folder() / MEMO
    if cache_folder() != configured_folder() and memo_file.exists():
        raise StorageError(f"{memo_file}: cannot be written, and may name the person")
    with suppress(sqlite3.Error), closing(Memo()) as memo:
        memo.forget(identity)
