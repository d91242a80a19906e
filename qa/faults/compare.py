"""What became of a run, beside one that nothing came in the way of.

As promised: raw, crops and embeddings byte for byte, models by weights, reports by metrics.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.storage import parquet

TABLES = ("raw", "crops", "embeddings")  # folders of artifacts with rows of images


@dataclass
class Verdict:
    """Images lost and doubled, and what is wrong or left behind, by name."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def compare(root: Path, undisturbed: Path) -> Verdict:
    """Compare two storage roots, both as folders, every file of the artifacts read."""
    verdict = Verdict()
    expected = _artifacts(undisturbed)
    for path in sorted(_artifacts(root) ^ expected):
        verdict.wrong.append(f"{path}: an artifact that only one of them has")
    for path in sorted(expected & _artifacts(root)):
        _compare_artifact(root / path, undisturbed / path, verdict)
    verdict.left += [str(f.relative_to(root)) for f in root.rglob("*") if f.name.endswith(".tmp")]
    verdict.left += [f.name for f in root.glob(".probe-*")]
    return verdict


def damaged_files(root: Path) -> list[Path]:
    """Files of finished artifacts that are not what their manifests say."""
    wrong = []
    for path in sorted(_artifacts(root)):
        folder = root / path
        manifest = storage.read_manifest(str(folder))
        assert manifest is not None
        for part in manifest.parts:
            file = folder / part.name
            if not file.is_file() or storage.sha256(str(file)) != part.sha256:
                wrong.append(file)
    return wrong


def only_victim_lost(plain: Path, poisoned: Path, victim: str) -> None:
    """Check the reference with a poison image: every other image came through as without it.

    Raises:
        ValueError: another crop is missing or differs, or the victim was not rejected.
    """
    crops, expected = _crops(poisoned), _crops(plain)
    if victim not in expected or victim in crops:
        raise ValueError(f"{victim} should be a crop in {plain} and none in {poisoned}")
    del expected[victim]
    if crops != expected:
        differ = sorted(k for k in crops | expected if crops.get(k) != expected.get(k))
        raise ValueError(f"{poisoned}: other crops differ from {plain}: {differ[:5]}")
    rejects = [
        row["image_id"]
        for file in poisoned.glob("crops/tiny/*/rejects/part-*")
        for row in parquet.read_table(str(file)).to_pylist()
    ]
    if rejects.count(victim) != 1:
        raise ValueError(f"{poisoned}: {victim} is {rejects.count(victim)} times among the rejects")


def _crops(root: Path) -> dict[str, bytes]:
    """The crop of each image of the training set."""
    return {
        row["image_id"]: row["image"]["bytes"]
        for file in root.glob("crops/tiny/*/crops/part-*")
        for row in parquet.read_table(str(file)).to_pylist()
    }


def _artifacts(root: Path) -> set[Path]:
    return {file.parent.relative_to(root) for file in root.rglob(storage.MANIFEST)}


def _compare_artifact(found: Path, expected: Path, verdict: Verdict) -> None:
    kind = found.parts[-3]
    ours, theirs = (storage.read_manifest(str(path)) for path in (found, expected))
    assert ours is not None
    assert theirs is not None
    name = "/".join(found.parts[-3:])
    already = len(verdict.wrong)
    for part in ours.parts:
        file = found / part.name
        if not file.is_file():
            verdict.wrong.append(f"{name}/{part.name}: missing")
        elif storage.sha256(str(file)) != part.sha256:
            verdict.wrong.append(f"{name}/{part.name}: not what the manifest says")
    if ours.counts != theirs.counts:
        verdict.wrong.append(f"{name}: other counts")
    if kind in TABLES and ours.parts != theirs.parts:
        verdict.wrong.append(f"{name}: other parts")
    if len(verdict.wrong) == already and kind == "models" and not _same_weights(found, expected):
        verdict.wrong.append(f"{name}: other weights")
    metrics = "metrics.json"
    if kind == "reports" and (found / metrics).read_bytes() != (expected / metrics).read_bytes():
        verdict.wrong.append(f"{name}: other metrics")
    if kind in TABLES:
        ids, wanted = _ids(found), _ids(expected)
        verdict.lost += [f"{name}: {image}" for image in wanted if not ids[image]]
        verdict.doubled += [f"{name}: {image}" for image in ids if ids[image] > wanted[image]]


def _ids(artifact: Path) -> Counter[str]:
    """How often each image is in the parts that lie there, whatever the manifest says."""
    ids: Counter[str] = Counter()
    for file in artifact.glob("*/part-*.parquet"):
        try:
            table = parquet.read_table(str(file))
        except ArtifactError:  # its images are lost
            continue
        if "image_id" in table.column_names:
            ids.update(table["image_id"].to_pylist())
    return ids


def _same_weights(found: Path, expected: Path) -> bool:
    ours, theirs = _weights(found), _weights(expected)
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name], value) for name, value in theirs.items()
    )


def _weights(model: Path) -> dict[str, np.ndarray]:
    """Every array in a `.keras` file, by its path in there."""
    with zipfile.ZipFile(model / "model.keras") as file:
        content = io.BytesIO(file.read("model.weights.h5"))
    results: dict[str, np.ndarray] = {}

    def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            results[name] = item[()]

    with h5py.File(content) as weights:
        weights.visititems(note)
    return results
