"""Who is it? The nearest of many embedded faces, exactly, by FAISS.

The index of a table is a file beside it, `TABLE.KEY.faiss`, or lies in the user's cache folder
where the table's folder cannot be written, or is an artifact's, which never changes. The key is a
digest of what the table was when the index was made, so an index is up to date or not used.

In memory are the vectors, 4 bytes a number, and the names. The vectors of a million faces take
0.5 GiB in 128 dimensions, 2.0 GiB in 512.
"""

from __future__ import annotations

import hashlib
import logging
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from facenet_core import cache, storage
from facenet_core.embedding import artifact as embeddings
from facenet_core.errors import ArtifactError, ConfigError, StorageError
from facenet_core.storage import parquet

logger = logging.getLogger(__name__)

_NAMES = ("image_id", "identity", "face_index")


@dataclass(frozen=True)
class Match:
    """A face of the gallery that is near a face.

    Attributes:
        identity, image_id, face_index: of the gallery's face.
        distance: Euclidean, of embeddings of unit length, 0 to 2.
        same: whether both are one person's; None where no threshold is known.
    """

    identity: str
    image_id: str
    face_index: int
    distance: float
    same: bool | None = None


@dataclass(frozen=True)
class Gallery:
    """Embedded faces, ready to be searched.

    Attributes:
        names: `image_id`, `identity` and `face_index` of n faces.
        index: their vectors, n of d.
        model: fingerprint of the model that embedded them; empty where a table does not say.
    """

    names: pa.Table
    index: faiss.Index
    model: str

    def nearest(self, vectors: np.ndarray, count: int) -> list[list[Match]]:
        """The nearest faces to each of float32 [m, d], the nearest first."""
        count = min(count, self.index.ntotal)
        squared, rows = self.index.search(np.ascontiguousarray(vectors, np.float32), count)
        return [
            [
                Match(row["identity"], row["image_id"], row["face_index"], float(distance))
                for row, distance in zip(
                    self.names.take(near).to_pylist(), np.sqrt(np.maximum(far, 0)), strict=True
                )
            ]
            for near, far in zip(rows, squared, strict=True)
        ]


def open_gallery(uri: str) -> Gallery:
    """The faces of a table of `facenet embed`, or of an artifact of the stage `embed`.

    Raises:
        ArtifactError: there are none, or a part is damaged.
    """
    uri = storage.absolute(uri)
    sizes = {part: _size(part) for part in _parts(uri)}
    footer = parquet.footer(*next(iter(sizes.items())))
    columns = footer.schema.to_arrow_schema().names
    lacking = {"image_id", "identity", "embedding"} - set(columns)
    if lacking:
        raise ArtifactError(
            f"{uri}: no column {', '.join(sorted(lacking))}; expected a table of `facenet embed`"
        )
    names = pa.concat_tables(_names_of(part, columns) for part in sizes)
    if not len(names):
        raise ArtifactError(f"{uri}: no faces in it")
    model = (footer.metadata or {}).get(embeddings.MODEL, b"").decode(errors="replace")
    return Gallery(names, _index_of(uri, sizes, len(names)), model)


def model_of(uri: str, root: str) -> str:
    """The URI of the model that embedded a gallery, under this storage root or where it was.

    Raises:
        ConfigError: it is not there any more, or the gallery does not say.
    """
    uri = storage.absolute(uri)
    if (artifact := storage.find_artifact(uri)) is not None:
        return embeddings.model_of(artifact).uri
    metadata = parquet.footer(uri, _size(uri)).metadata or {}
    fingerprint = metadata.get(embeddings.MODEL, b"").decode(errors="replace")
    models = storage.join(root, storage.STAGE_FOLDERS["train"])
    for entry in storage.entries(models) if fingerprint else ():
        model_uri = storage.join(models, entry.name, fingerprint)
        if storage.read_manifest(model_uri) is not None:
            return model_uri
    raise ConfigError(
        f"{uri}: embedded with the model {fingerprint or '(not named)'}, which is not in {root}; "
        "name it with --model"
    )


def _parts(uri: str) -> list[str]:
    artifact = storage.find_artifact(uri) if not uri.endswith(".parquet") else None
    if artifact is not None:
        return storage.check_artifact(artifact, "embed").part_uris(embeddings.FOLDER)
    if storage.size(uri) is None:
        raise ArtifactError(f"{uri}: no such table; `facenet embed` makes one")
    return [uri]


def _size(uri: str) -> int:
    size = storage.size(uri)
    if size is None:
        raise ArtifactError(f"{uri}: no such table")
    return size


def _names_of(part: str, columns: Sequence[str]) -> pa.Table:
    table = parquet.read_table(part, [name for name in _NAMES if name in columns])
    if "face_index" not in columns:
        table = table.append_column("face_index", pa.array(np.zeros(len(table), np.int32)))
    return table.select(_NAMES).replace_schema_metadata(None)


def _index_of(uri: str, sizes: Mapping[str, int], faces: int) -> faiss.Index:
    """The index of these parts: read where there is one that is up to date, else made and kept."""
    state = [(part, size, str(storage.modified(part))) for part, size in sizes.items()]
    key = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
    beside = storage.is_local(uri) and uri.endswith(".parquet")
    name = posixpath.basename(uri)
    folder = Path(uri).parent
    if not beside or not os.access(folder, os.W_OK):
        folder = cache.cache_folder() / "faces"
        name = f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}-{name}"
    file = folder / f"{name}.{key}.faiss"
    if file.is_file():
        try:
            index = faiss.read_index(str(file))
            if index.ntotal == faces:
                return index
        except RuntimeError as error:  # FAISS raises nothing else on a damaged file
            logger.warning("%s: cannot be read and is made again: %s", file, str(error)[:200])
    index = _build([*sizes])
    try:
        with storage.new_file(str(file)) as path:
            faiss.write_index(index, str(path))
        for old in folder.glob(f"{name}.{'[0-9a-f]' * 16}.faiss"):
            if old != file:
                old.unlink(missing_ok=True)
    except (OSError, StorageError, RuntimeError) as error:
        logger.warning("%s: the index is not kept: %s", file, error)
    return index


def _build(parts: Sequence[str]) -> faiss.Index:
    index: Any = None
    for part in parts:
        for group in parquet.read_row_groups(part, ["embedding"]):
            if not len(group):
                continue
            if group["embedding"].null_count:
                raise ArtifactError(f"{part}: rows without an embedding")
            vectors = embeddings.vectors(part, group["embedding"])
            if not np.isfinite(vectors).all():
                raise ArtifactError(f"{part}: embeddings that are not finite")
            # A report's may join two embeddings, of length √2.
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
            if index is None:
                index = faiss.IndexFlatL2(vectors.shape[1])
            elif index.d != vectors.shape[1]:
                raise ArtifactError(f"{part}: embeddings of several sizes in one table")
            index.add(vectors)
    return index
