"""Embeddings in Parquet: written a row group at a time, read whole for classifying, clustering."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.datasets.rows import HARMLESS
from facenet_core.embedding.artifact import FOLDER, MODEL, find_embeddings, open_crops
from facenet_core.embedding.artifact import vectors as vectors_of
from facenet_core.errors import ArtifactError
from facenet_core.progress import Progress, silent
from facenet_core.recognition.photographs import Row
from facenet_core.recognition.stream import Embedded, Rejected
from facenet_core.storage import Artifact, parquet, schemas

_GROUP_ROWS = 1024
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
    """Whether this is an artifact of embeddings, or a Parquet file of them, not of photographs."""
    if find_embeddings(uri) is not None:
        return True
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
    """Write embedded faces to `uri`; see `write_rows`."""
    return write_rows(uri, (face.row() for face in faces), model, progress)


def write_rows(
    uri: str, rows: Iterable[Row], model: str, progress: Progress = silent
) -> dict[str, int]:
    """Write embeddings to `uri`, and photographs without a face to `…-rejects.parquet`.

    Both appear when all is done. A row group is in memory at a time.

    Args:
        rows: of `FACES`, and of rejects.
        model: fingerprint of the model, for the footer.

    Returns:
        Counts: faces, photographs with faces, rejects, and rejects by reason.
    """
    counts: dict[str, int] = {"faces": 0, "aligned": 0, "rejects": 0}
    schema = FACES.with_metadata({MODEL: model.encode()})
    previous: str | None = None
    with ExitStack() as stack:
        table = stack.enter_context(parquet.PartWriter(uri, schema, model, _GROUP_ROWS))
        rejects = stack.enter_context(
            parquet.PartWriter(rejects_of(uri), schemas.REJECTS, model, _GROUP_ROWS)
        )
        for row in rows:
            if "reason" in row:
                rejects.write(row)
                counts["rejects"] += 1
                reason = f"rejects.{row['reason']}"
                counts[reason] = counts.get(reason, 0) + 1
            else:
                table.write(row)
                counts["faces"] += 1
                counts["aligned"] += row["image_id"] != previous
                previous = row["image_id"]
            progress(counts["aligned"] + counts["rejects"], None)
    return counts


def rows_of(embeddings: Artifact) -> Iterator[Row]:
    """The rows of an artifact of embeddings for `write_rows`, and the rejects of its crops.

    Raises:
        ArtifactError: a part is damaged, or the crops are gone, which say where each face was.
    """
    crops = open_crops(embeddings)
    parts = zip(crops.part_uris("crops"), embeddings.part_uris(FOLDER), strict=True)
    for crops_part, part in parts:
        described = _rows(crops_part, ["image_id", "face_index", "box"])
        for row in _rows(part, [name for name in FACES.names if name != "box"]):
            box = next(
                crop["box"]  # crops of people who were forgotten since are left out
                for crop in described
                if (crop["image_id"], crop["face_index"]) == (row["image_id"], row["face_index"])
            )
            yield {**row, "box": box}
    for part in crops.part_uris("rejects"):
        yield from _rows(part)
    raw = storage.find_artifact(crops.inputs[0].uri)
    for part in raw.part_uris("skipped") if raw is not None else ():
        for row in _rows(part):
            if row["reason"] not in HARMLESS:
                detail = {"reason": row["reason"], "detail": row["detail"]}
                yield {"image_id": row["path"], "identity": "", **detail}


def _rows(part: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    for group in parquet.read_row_groups(part, columns):
        yield from group.to_pylist()


def rejects_of(uri: str) -> str:
    return uri.removesuffix(".parquet") + "-rejects.parquet"


def read(uri: str, *, every_face: bool = True) -> Faces:
    """The embeddings of a table that `write` made, an artifact, or a report's `embeddings.parquet`.

    Those of a report may join two embeddings; here all are of unit length.

    Args:
        every_face: not only the one that a photograph is of.

    Raises:
        ArtifactError: it is damaged, or no such table.
    """
    table = _read(uri)
    missing = {"image_id", "identity", "embedding"} - set(table.column_names)
    if missing or table["embedding"].null_count:
        what = f"no column {', '.join(sorted(missing))}" if missing else "rows without an embedding"
        raise ArtifactError(f"{uri}: {what}; expected a table that `facenet embed` made")
    indices = _face_indices(uri, table)
    if not every_face:
        table, indices = table.filter(indices == 0), indices[indices == 0]
    if not len(table):
        raise ArtifactError(f"{uri}: no faces in it")
    vectors = vectors_of(uri, table["embedding"])
    if not np.isfinite(vectors).all():
        raise ArtifactError(f"{uri}: embeddings that are not finite")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    metadata = table.schema.metadata or {}
    return Faces(
        tuple(table["image_id"].to_pylist()),
        tuple(table["identity"].to_pylist()),
        vectors,
        metadata.get(MODEL, b"").decode(errors="replace"),
        indices,
    )


def _read(uri: str) -> pa.Table:
    artifact = find_embeddings(uri)
    if artifact is None:
        return parquet.read_table(uri)
    columns = ["image_id", "identity", "face_index", "embedding"]
    parts = [parquet.read_table(part, columns) for part in artifact.part_uris(FOLDER)]
    if not parts:
        raise ArtifactError(f"{uri}: no faces in it")
    return pa.concat_tables(parts)


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
