"""The files of a model from elsewhere: which are there, of which kind, and whether all are.

The original's models were published as zip archives of a folder with a checkpoint
(`model-….ckpt-N.index` and its `.data-00000-of-00001` …, beside a `.meta`, which is not needed),
with a frozen graph (`.pb`), or with both. Others have them as one file: Keras 2's `.h5`, PyTorch's
`.pt`, `.safetensors`.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facenet_core import storage
from facenet_core.errors import ModelError

# What a protocol buffer may have; the largest published checkpoint has a third of it.
LARGEST_FILE = 2**31 - 1

Kind = Literal["checkpoint", "frozen", "archive", "h5", "torch", "safetensors"]
# Kinds that are one file, by its extension.
ONE_FILE: dict[str, Kind] = {
    ".pb": "frozen",
    ".zip": "archive",
    ".h5": "h5",
    ".hdf5": "h5",
    ".pt": "torch",
    ".pth": "torch",
    ".safetensors": "safetensors",
}

_SHARD = re.compile(r"\.data-(\d{5})-of-(\d{5})$")
_OURS = re.compile(
    r"\.(meta|index|ckpt|ckpt-\d+|data-\d{5}-of-\d{5})$|"
    + "|".join(f"{re.escape(extension)}$" for extension in ONE_FILE),
    re.IGNORECASE,
)
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
class ModelFiles:
    """What to read of a model.

    Attributes:
        kind: of which kind the files are; of an archive the checkpoint or graph in it is read.
        stem: URI of the only file, or the one that the checkpoint's files have in common.
        uris: the files.
    """

    kind: Kind
    stem: str
    uris: tuple[str, ...]

    def digest(self) -> str:
        """16 hex digits of SHA-256 over the files' content."""
        digest = hashlib.sha256()
        for uri in self.uris:
            digest.update(storage.sha256(uri).encode())
        return digest.hexdigest()[:16]

    @contextmanager
    def local(self) -> Iterator[ModelFiles]:
        """The files in local folders, unpacked, for the time of the block.

        Raises:
            ModelError: an archive is damaged, or has no model in it.
        """
        if self.kind != "archive" and storage.is_local(self.stem):
            yield self
            return
        with storage.temporary_folder() as folder:
            for uri in self.uris:
                storage.fetch_file(uri, folder / posixpath.basename(uri), LARGEST_FILE)
            local = str(folder / posixpath.basename(self.stem))
            if self.kind == "archive":
                yield _unpack(self.stem, Path(local))
            else:
                uris = tuple(str(folder / posixpath.basename(uri)) for uri in self.uris)
                yield ModelFiles(self.kind, local, uris)

    @property
    def path(self) -> Path:
        """The local path of `stem`."""
        return Path(storage.file_system(self.stem)[1])


def is_model(uri: str) -> bool:
    """Whether something by this name looks like a model from elsewhere, whole or not."""
    return any(_OURS.search(name) for name in (uri, *_names(uri)))


def extension_of(uri: str) -> str:
    """`.onnx` of `A.ONNX`."""
    return posixpath.splitext(uri)[1].lower()


def is_onnx(uri: str) -> bool:
    """Whether a model is ONNX by its name."""
    return extension_of(uri) == ".onnx"


def find(uri: str) -> ModelFiles:
    """The files of the model at `uri`: a folder, one file, or a checkpoint by one of its files.

    Of a folder with both, the checkpoint is taken, as the original did; of several checkpoints the
    one with the most steps.

    Raises:
        ModelError: nothing of the kind is there, a file is missing, empty or too large.
    """
    uri = storage.absolute(uri)
    if kind := ONE_FILE.get(extension_of(uri)):
        return _checked(ModelFiles(kind, uri, (uri,)))
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
    for extension in ONE_FILE:
        files = [name for name in names if name.lower().endswith(extension)]
        if len(files) == 1:
            return find(storage.join(uri, files[0]))
        if files:
            raise ModelError(f"{uri}: {len(files)} models ({', '.join(files)}); name one")
    content = f"it has {', '.join(names[:5])}" if names else "there are no files"
    raise ModelError(
        f"{uri}: no model: expected a folder with model-….ckpt-N.index and .data-00000-of-00001, "
        f"or one file ({', '.join(ONE_FILE)}); {content}"
    )


def _unpack(source: str, path: Path) -> ModelFiles:
    """Of a published archive, unpack the checkpoint, or else the frozen graph, beside it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                posixpath.basename(info.filename): info
                for info in archive.infolist()
                if not info.is_dir() and not storage.is_system_file(info.filename)
            }
            stem = _newest([*members])
            wanted = [name for name in members if stem and name.startswith(f"{stem}.")]
            wanted = wanted or [name for name in members if name.endswith(".pb")]
            if not wanted:
                raise ModelError(
                    f"{source}: no TensorFlow 1 model in the archive: expected "
                    f"model-….ckpt-N.index or a .pb; it has "
                    f"{', '.join([*members][:5]) or 'no files'}"
                )
            if sum(members[name].file_size for name in wanted) > LARGEST_FILE:
                raise ModelError(f"{source}: unpacks to more than any model has")
            folder = path.with_name("unpacked")
            folder.mkdir()
            for name in wanted:
                with archive.open(members[name]) as member, (folder / name).open("xb") as file:
                    shutil.copyfileobj(member, file)
    except ModelError:
        raise
    except Exception as error:  # zipfile's and zlib's kinds, and whatever damage makes them raise
        raise ModelError(
            f"{source}: not a zip archive that can be read ({error}); fetch it again"
        ) from None
    return find(str(folder))


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


def _checkpoint(folder: str, name: str, names: Sequence[str]) -> ModelFiles:
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
        ModelFiles("checkpoint", stem, tuple(storage.join(folder, file) for file in expected))
    )


def _checked(files: ModelFiles) -> ModelFiles:
    for uri in files.uris:
        size = storage.size(uri)
        if size is None:
            raise ModelError(f"{uri}: no such file")
        if size == 0:
            raise ModelError(f"{uri}: the file is empty; fetch it again")
        if size > LARGEST_FILE:
            raise ModelError(f"{uri}: {size:,} bytes, more than any model has ({LARGEST_FILE:,})")
    return files
