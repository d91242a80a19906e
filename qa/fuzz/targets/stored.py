"""What lies in a storage root or a cache folder: manifests, notes of downloads, the memo."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

from hypothesis import strategies as st

from facenet_core import storage
from facenet_core.cache import cache_folder
from facenet_core.datasets.memo import Memo
from facenet_core.errors import ArtifactError
from facenet_core.fetch import partial_file
from facenet_core.fetch.wanted import Wanted
from facenet_core.housekeeping import promotion
from facenet_core.housekeeping.inspect import metrics, overview
from facenet_core.privacy import deny_list
from facenet_core.recognition import threshold
from facenet_core.storage import FORMAT, Input, Manifest, Part

from ..target import Target

_FINGERPRINT = "0123456789abcdef"


def _manifest(stage: str) -> Manifest:
    metrics = {"threshold": 1.1, "subtract_mean": False, "folds": [{"val_threshold": 0.8}]}
    metrics |= {"distance_metric": "euclidean", "use_flipped_images": False}
    details = {"metrics": metrics, "promoted": True, "why": "good", "labels": ["Ann", "Bob"]}
    return Manifest(
        FORMAT,
        stage,
        "faces",
        _FINGERPRINT,
        {"image_size": 160, "min_accuracy": 0.5},
        (Input("/data/faces.tgz", _FINGERPRINT), Input("models/faces/0", _FINGERPRINT)),
        (Part("metrics.json", 0, 2, "0" * 64),),
        {"images": 2},
        {"facenet-pipeline": "0.1.0"},
        1,
        details,
    )


def manifests() -> list[bytes]:
    return [
        json.dumps(asdict(_manifest(stage))).encode() for stage in ("validate", "train", "ingest")
    ]


def read_manifest(data: bytes, folder: Path) -> None:
    """As inspect, validate, classify and the promotion do."""
    path = folder / "reports" / "faces" / _FINGERPRINT
    path.mkdir(parents=True)
    (path / "metrics.json").write_bytes(b"{}")
    (path / storage.MANIFEST).write_bytes(data)
    manifest = storage.read_manifest(str(path))
    assert manifest is not None
    threshold.validated_threshold(threshold.find_reports(str(folder), _FINGERPRINT))
    with suppress(ArtifactError):
        storage.open_artifact(str(path), "validate")
    metrics(overview(str(path)).artifact)


def manifest_values() -> st.SearchStrategy[bytes]:
    """Manifests with a value of another kind somewhere in them."""
    odd = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
        ),
        max_leaves=4,
    )
    whole = asdict(_manifest("validate"))
    paths = [(name,) for name in whole] + [
        ("details", "metrics"),
        ("details", "metrics", "threshold"),
    ]
    paths += [
        ("parts", 0),
        ("parts", 0, "bytes"),
        ("parts", 0, "name"),
        ("inputs", 0),
        ("inputs", 0, "uri"),
    ]
    paths += [("counts", "images"), ("config", "image_size"), ("made_by", "facenet-pipeline")]
    paths += [("parts", 0, "rows"), ("parts", 0, "sha256"), ("details", "labels")]
    paths += [("details", "metrics", "folds"), ("details", "metrics", "subtract_mean"), ()]

    def changed(change: tuple[tuple[str | int, ...], object]) -> bytes:
        path, value = change
        copy = json.loads(json.dumps(whole))
        if not path:
            return json.dumps(value).encode()
        inner = copy
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        return json.dumps(copy).encode()

    return st.tuples(st.sampled_from(paths), odd).map(changed)


def read_latest(data: bytes, folder: Path) -> None:
    model = folder / "models" / "faces" / _FINGERPRINT
    model.mkdir(parents=True)
    (folder / "models" / "faces" / promotion.LATEST).write_bytes(data)
    (model / storage.MANIFEST).write_bytes(b"{}")
    (model / storage.RUN).write_bytes(data)
    promotion.resolve(str(folder), "newest:faces", "train")
    uri = promotion.resolve(str(folder), "promoted:faces", "train")
    assert "/.." not in uri


def _latest() -> list[bytes]:
    latest = {"name": "faces", "fingerprint": _FINGERPRINT, "finished": "2024-01-01T00:00:00+00:00"}
    return [json.dumps(latest).encode()]


def read_forgotten(data: bytes, folder: Path) -> None:
    (folder / deny_list.FORGOTTEN).write_bytes(data)
    forgotten = deny_list.read(str(folder))
    forgotten.covers("Ann")
    forgotten.digest(_FINGERPRINT)


def _forgotten() -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        deny_list.write(folder, deny_list.Forgotten().with_person("Ann").with_person("Bob"))
        return [(Path(folder) / deny_list.FORGOTTEN).read_bytes()]


def read_notes(data: bytes, folder: Path) -> None:
    """The note beside a download, and the one beside a part of it: damaged, it is fetched anew."""
    wanted = Wanted(str(folder / "faces.tgz"), ("https://host/faces.tgz",))
    (folder / "faces.tgz").write_bytes(b"x" * 5)
    (folder / "faces.tgz.json").write_bytes(data)
    partial_file.stored(wanted)
    (folder / ".faces.tgz.part").write_bytes(b"xxx")
    (folder / ".faces.tgz.part.json").write_bytes(data)
    with partial_file.open_partial(wanted.uri, pinned=False) as file:
        assert file.size in (0, 3)


def _notes() -> list[bytes]:
    note = partial_file.Stored("faces.tgz", "https://host/faces.tgz", 5, "0" * 64, '"tag"')
    part = {"etag": '"tag"', "last_modified": None, "total": 5}
    return [json.dumps(asdict(note)).encode(), json.dumps(part).encode()]


def read_memo(data: bytes, folder: Path) -> None:
    """A damaged memo costs time, and nothing else."""
    path = cache_folder() / "sha256.sqlite"
    for old in path.parent.glob("sha256.sqlite*"):
        old.unlink()
    path.write_bytes(data)
    (folder / "a.jpg").write_bytes(b"a")
    with closing(Memo()) as memo:
        assert len(memo.sha256(folder / "a.jpg")) == 64


def _memos() -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memo.sqlite"
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE memo (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)")
            database.executemany(
                "INSERT INTO memo VALUES (?, 's', 'x')", [(str(n),) for n in range(50)]
            )
            database.commit()
        return [path.read_bytes()]


TARGETS = (
    Target("manifest", read_manifest, manifests, 6, text=True, drawn=manifest_values),
    Target("latest.json, run.json", read_latest, _latest, 2, text=True),
    Target("forgotten.json", read_forgotten, _forgotten, 2, text=True),
    Target("notes of downloads", read_notes, _notes, 2, text=True),
    Target("memo", read_memo, _memos, 1),
)
