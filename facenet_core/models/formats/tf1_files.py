"""The files of a model from TensorFlow 1: which are there, of which kind, and whether all are.

A model was published as a folder with a checkpoint (`model-….ckpt-N.index` and its
`.data-00000-of-00001` …, beside a `.meta`, which is not needed), with a frozen graph (`.pb`), or
with both.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facenet_core import storage
from facenet_core.errors import ModelError

# What a protocol buffer may have; the largest published checkpoint has a third of it.
LARGEST_FILE = 2**31 - 1

_SHARD = re.compile(r"\.data-(\d{5})-of-(\d{5})$")
_OURS = re.compile(r"\.(pb|meta|index|ckpt|ckpt-\d+|data-\d{5}-of-\d{5})$")
_SIGNATURES = {
    b"PK\x03\x04": "a zip archive (a .keras file is one)",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x1f\x8b": "gzip, perhaps an archive to unpack first",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"<": "a page or an XML file; perhaps the download failed",
    b"{": "JSON",
}


@dataclass(frozen=True)
class Tf1Files:
    """What to read of a model.

    Attributes:
        kind: a checkpoint, or a graph with the variables frozen into it.
        stem: URI of the `.pb`, or the one that the checkpoint's files have in common.
        uris: the files.
    """

    kind: Literal["checkpoint", "frozen"]
    stem: str
    uris: tuple[str, ...]

    def digest(self) -> str:
        """16 hex digits of SHA-256 over the files' content."""
        digest = hashlib.sha256()
        for uri in self.uris:
            digest.update(storage.sha256(uri).encode())
        return digest.hexdigest()[:16]

    @contextmanager
    def local(self) -> Iterator[Path]:
        """The local path of `stem`; files elsewhere are fetched for the time of the block."""
        if storage.is_local(self.stem):
            yield Path(storage.file_system(self.stem)[1])
            return
        with storage.temporary_folder() as folder:
            for uri in self.uris:
                storage.fetch_file(uri, folder / posixpath.basename(uri), LARGEST_FILE)
            yield folder / posixpath.basename(self.stem)


def is_tf1(uri: str) -> bool:
    """Whether something by this name looks like a model from TensorFlow 1, whole or not."""
    return any(_OURS.search(name) for name in (uri, *_names(uri)))


def find(uri: str) -> Tf1Files:
    """The files of the model at `uri`: a folder, a `.pb`, or a checkpoint by the name of one file.

    Of a folder with both, the checkpoint is taken, as the original did; of several checkpoints the
    one with the most steps.

    Raises:
        ModelError: nothing of the kind is there, a file is missing, empty or too large.
    """
    uri = storage.absolute(uri)
    if uri.endswith(".pb"):
        return _checked(Tf1Files("frozen", uri, (uri,)))
    stem = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", uri)
    folder, name = posixpath.split(stem)
    if stem != uri or re.search(r"\.ckpt(-\d+)?$", name):
        names = _names(folder)
        if uri.endswith(".meta"):  # is named without the steps
            return _checkpoint(folder, _newest(names, name) or name, names)
        return _checkpoint(folder, name, names)
    names = _names(uri)
    if checkpoint := _newest(names):
        return _checkpoint(uri, checkpoint, names)
    frozen = [name for name in names if name.endswith(".pb")]
    if len(frozen) == 1:
        return find(storage.join(uri, frozen[0]))
    if frozen:
        raise ModelError(f"{uri}: {len(frozen)} frozen graphs ({', '.join(frozen)}); name one")
    content = f"it has {', '.join(names[:5])}" if names else "there are no files"
    raise ModelError(
        f"{uri}: no TensorFlow 1 model: expected a folder with model-….ckpt-N.index and "
        f".data-00000-of-00001, or with a frozen graph (.pb); {content}"
    )


def describe_content(head: bytes) -> str:
    """What a file is by its first bytes, for a message about the wrong one."""
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return f"it is {kind}"
    return "it may be cut short"


def _names(folder: str) -> list[str]:
    if not storage.is_folder(folder):
        return []
    names = [entry.name for entry in storage.entries(folder)]
    return [name for name in names if not storage.is_system_file(name)]


def _newest(names: Sequence[str], prefix: str = "") -> str | None:
    """The checkpoint of the most steps among files, by what their names have in common."""
    stems = {_SHARD.sub("", name) for name in names if _SHARD.search(name)}
    stems |= {name.removesuffix(".index") for name in names if name.endswith(".index")}
    stems = {stem for stem in stems if stem.startswith(prefix)}
    return max(stems, key=lambda stem: (_steps(stem), stem), default=None)


def _steps(stem: str) -> int:
    match = re.search(r"-(\d+)$", stem)
    return int(match[1]) if match else -1


def _checkpoint(folder: str, name: str, names: Sequence[str]) -> Tf1Files:
    stem = storage.join(folder, name)
    shards = [file for file in names if _SHARD.sub("", file) == name and _SHARD.search(file)]
    counts = {int(match[2]) for file in shards if (match := _SHARD.search(file))}
    total = max(counts, default=1)
    expected = [f"{name}.index"]
    expected += [f"{name}.data-{number:05d}-of-{total:05d}" for number in range(total)]
    missing = [file for file in expected if file not in names]
    if missing:
        raise ModelError(
            f"{stem}: the checkpoint is not whole: {', '.join(missing[:3])} is missing in "
            f"{folder}; fetch it, or name a frozen graph (.pb)"
        )
    return _checked(
        Tf1Files("checkpoint", stem, tuple(storage.join(folder, file) for file in expected))
    )


def _checked(files: Tf1Files) -> Tf1Files:
    for uri in files.uris:
        size = storage.size(uri)
        if size is None:
            raise ModelError(f"{uri}: no such file")
        if size == 0:
            raise ModelError(f"{uri}: the file is empty; fetch it again")
        if size > LARGEST_FILE:
            raise ModelError(f"{uri}: {size:,} bytes, more than any model has ({LARGEST_FILE:,})")
    return files
