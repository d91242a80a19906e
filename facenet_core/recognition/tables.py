"""Embeddings in Parquet: written a row group at a time, read whole for classifying, clustering."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.progress import Progress, silent
from facenet_core.recognition.stream import Embedded, Rejected
from facenet_core.storage import parquet, schemas

_GROUP_ROWS = 1024
_MODEL = b"facenet:model"
FACES = pa.schema(
    [
        ("image_id", pa.string()),
        ("identity", pa.string()),
        ("face_index", pa.int32()),
        ("box", pa.list_(pa.float32(), 4)),
        ("score", pa.float32()),
        ("embedding", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Faces:
    """Embedded faces.

    Attributes:
        image_ids, identities: of n faces.
        vectors: float32 [n, d].
        model: fingerprint of the model; empty where a table does not say.
        face_indices: int32 [n], which face of its photograph each is.
    """

    image_ids: tuple[str, ...]
    identities: tuple[str, ...]
    vectors: np.ndarray
    model: str
    face_indices: np.ndarray

    def take(self, rows: np.ndarray) -> Faces:
        """Some of them."""
        return Faces(
            tuple(self.image_ids[row] for row in rows),
            tuple(self.identities[row] for row in rows),
            self.vectors[rows],
            self.model,
            self.face_indices[rows],
        )


def is_table(uri: str) -> bool:
    """Whether a file is Parquet with embeddings in it, rather than photographs."""
    if not uri.endswith(".parquet") or storage.size(uri) is None:
        return False
    with storage.open_input(uri) as file:
        try:
            return "embedding" in pq.read_schema(file).names
        except parquet.DAMAGED as error:
            raise ArtifactError(f"{uri}: not a Parquet file that can be read: {error}") from None


def write(
    uri: str,
    faces: Iterable[Embedded | Rejected],
    model: str,
    progress: Progress = silent,
) -> dict[str, int]:
    """Write embeddings to `uri`, and photographs without a face to `…-rejects.parquet`.

    Both appear when all is done.

    Args:
        model: fingerprint of the model, for the footer.

    Returns:
        Counts: faces, photographs with faces, rejects, and rejects by reason.
    """
    counts: dict[str, int] = {"faces": 0, "aligned": 0, "rejects": 0}
    schema = FACES.with_metadata({_MODEL: model.encode()})
    previous: str | None = None
    with ExitStack() as stack:
        table = stack.enter_context(parquet.PartWriter(uri, schema, model, _GROUP_ROWS))
        rejects = stack.enter_context(
            parquet.PartWriter(rejects_of(uri), schemas.REJECTS, model, _GROUP_ROWS)
        )
        for face in faces:
            if isinstance(face, Rejected):
                rejects.write(face.row())
                counts["rejects"] += 1
                reason = f"rejects.{face.reason}"
                counts[reason] = counts.get(reason, 0) + 1
            else:
                table.write(face.row())
                counts["faces"] += 1
                counts["aligned"] += face.image_id != previous
                previous = face.image_id
            progress(counts["aligned"] + counts["rejects"], None)
    return counts


def rejects_of(uri: str) -> str:
    return uri.removesuffix(".parquet") + "-rejects.parquet"


def read(uri: str, *, every_face: bool = True) -> Faces:
    """The embeddings of a table that `write` made, or of a report's `embeddings.parquet`.

    Those of a report may join two embeddings; here all are of unit length.

    Args:
        every_face: not only the one that a photograph is of.

    Raises:
        ArtifactError: it is damaged, or no such table.
    """
    table = parquet.read_table(uri)
    missing = {"image_id", "identity", "embedding"} - set(table.column_names)
    if missing or table["embedding"].null_count:
        what = f"no column {', '.join(sorted(missing))}" if missing else "rows without an embedding"
        raise ArtifactError(f"{uri}: {what}; expected a table that `facenet embed` made")
    indices = _face_indices(uri, table)
    if not every_face:
        table, indices = table.filter(indices == 0), indices[indices == 0]
    if not len(table):
        raise ArtifactError(f"{uri}: no faces in it")
    column = table["embedding"].combine_chunks()
    lengths = np.unique(np.asarray(column.value_lengths()))
    if len(lengths) != 1:
        raise ArtifactError(f"{uri}: embeddings of {len(lengths)} sizes in one table")
    vectors = np.asarray(column.flatten(), np.float32).reshape(len(table), lengths[0])
    if not np.isfinite(vectors).all():
        raise ArtifactError(f"{uri}: embeddings that are not finite")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    metadata = table.schema.metadata or {}
    return Faces(
        tuple(table["image_id"].to_pylist()),
        tuple(table["identity"].to_pylist()),
        vectors,
        metadata.get(_MODEL, b"").decode(errors="replace"),
        indices,
    )


def _face_indices(uri: str, table: pa.Table) -> np.ndarray:
    """int32 [n]; 0 where a table does not say."""
    if "face_index" not in table.column_names:
        return np.zeros(len(table), np.int32)
    column = table["face_index"]
    try:
        return column.cast(pa.int32()).fill_null(0).to_numpy()
    except pa.ArrowException:
        raise ArtifactError(f"{uri}: face_index is {column.type}, expected int32") from None


def collect(faces: Iterable[Embedded], model: str) -> Faces:
    """Faces in memory, without their pixels."""
    rows = [(face.image_id, face.identity, face.vector, face.face_index) for face in faces]
    return Faces(
        tuple(image_id for image_id, *_ in rows),
        tuple(identity for _, identity, *_ in rows),
        np.stack([vector for *_, vector, _ in rows]) if rows else np.empty((0, 0), np.float32),
        model,
        np.array([index for *_, index in rows], np.int32),
    )
