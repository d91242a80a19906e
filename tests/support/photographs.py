"""A small data set of photographs, as a folder and as archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from PIL import Image

PEOPLE = {"Ann": 3, "Bob Ó Sé": 2, "Eve": 1}


def jpeg(seed: int, size: int = 24) -> bytes:
    buffer = io.BytesIO()
    color = (seed * 40 % 256, seed * 90 % 256, 128)
    Image.new("RGB", (size, size), color).save(buffer, "JPEG")
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    """Paths within the data set and their content."""
    seed = 0
    results = {}
    for person, count in PEOPLE.items():
        for number in range(1, count + 1):
            seed += 1
            results[f"{person}/{person}_{number:04d}.jpg"] = jpeg(seed)
    return results


def write_folder(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_tar(
    path: Path, content: dict[str, bytes], mode: str = "w:gz", top: str = "faces"
) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in content.items():
            entry = tarfile.TarInfo(f"{top}/{name}" if top else name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def write_zip(path: Path, content: dict[str, bytes], top: str = "faces") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"{top}/{name}", data)
    return path
