"""The detector, and photographs with what the original detector found in them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from facenet_core.alignment.mtcnn.detector import MTCNN
from facenet_core.imaging.decode import decode


@dataclass(frozen=True)
class Photograph:
    """An image and the faces that davidsandberg/facenet finds in it."""

    name: str
    image: np.ndarray
    boxes: np.ndarray  # [n, 4]
    scores: np.ndarray  # [n]
    landmarks: np.ndarray  # [n, 10]


@pytest.fixture(scope="session")
def detector() -> MTCNN:
    return MTCNN()


@pytest.fixture(scope="session")
def photographs(shared: Path) -> Callable[[str, list[str] | int], list[Photograph]]:
    """``photographs(set, names)``, or every n-th of a set, with the reference's results."""

    def load(dataset: str, which: list[str] | int) -> list[Photograph]:
        reference = json.loads((shared / "reference" / f"mtcnn_{dataset}.json").read_text())
        names = sorted(reference)[::which] if isinstance(which, int) else which
        data = _read(shared / "data" / dataset, set(names))
        return [_photograph(name, data[name], reference[name]["faces"]) for name in names]

    return load


def _read(folder: Path, names: set[str]) -> dict[str, bytes]:
    archive = folder / f"{folder.name}.tgz"
    if not archive.exists():
        return {name: (folder / name).read_bytes() for name in names}
    with tarfile.open(archive) as tar:
        members = ((member.name.partition("/")[2], member) for member in tar)
        return {name: tar.extractfile(m).read() for name, m in members if name in names}


def _photograph(name: str, data: bytes, faces: list[dict]) -> Photograph:
    return Photograph(
        name=name,
        image=decode(data, exif="ignore"),
        boxes=np.array([face["box"] for face in faces]).reshape(-1, 4),
        scores=np.array([face["score"] for face in faces]),
        landmarks=np.array([face["landmarks"] for face in faces]).reshape(-1, 10),
    )
