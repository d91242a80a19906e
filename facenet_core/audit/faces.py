"""The faces of an embeddings artifact in one array, which lies in a file: memory holds what is used
of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.embedding.artifact import FOLDER
from facenet_core.embedding.artifact import vectors as vectors_of
from facenet_core.errors import ArtifactError
from facenet_core.storage import Artifact, parquet

NOBODY = -1
_COLUMNS = ("image_id", "identity", "face_index", "score", "embedding")


@dataclass(frozen=True)
class Faces:
    """The first face of each photograph, in the order of the parts.

    Attributes:
        image_ids: n of them.
        names: of the identities, sorted.
        identities: int32 [n], index into `names`; −1 for an image of nobody known.
        vectors: float32 [n, d] of unit length.
        scores: float32 [n], the detector's.
    """

    image_ids: pa.Array
    names: tuple[str, ...]
    identities: np.ndarray
    vectors: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.identities)

    def name(self, row: int) -> str:
        """Whom an image is filed under; empty for nobody."""
        number = self.identities[row]
        return "" if number == NOBODY else self.names[number]

    def image_id(self, row: int) -> str:
        return self.image_ids[row].as_py()

    @cached_property
    def by_identity(self) -> list[np.ndarray]:
        """For each identity the numbers of its rows, ascending."""
        order = np.argsort(self.identities, kind="stable")
        edges = np.searchsorted(self.identities[order], np.arange(len(self.names) + 1))
        return [order[a:b] for a, b in itertools.pairwise(edges.tolist())]


def read_faces(embeddings: Artifact) -> Faces:
    """The first faces of an embeddings artifact, their vectors on disk.

    Raises:
        ArtifactError: a part is missing or damaged, or the artifact holds no face.
        StorageError: there is no room for the vectors in $TMPDIR.
    """
    if not (rows := sum(part.rows for part in embeddings.parts_in(FOLDER))):
        raise ArtifactError(
            f"{embeddings.uri}: no faces to audit; see the rejects of the crops it was made from"
        )
    vectors: np.ndarray | None = None
    ids: list[pa.Array] = []
    people: list[pa.Array] = []
    scores: list[np.ndarray] = []
    end = 0
    for uri in embeddings.part_uris(FOLDER):
        for group in parquet.read_row_groups(uri, _COLUMNS):
            group = group.filter(pc.equal(group["face_index"], 0)).combine_chunks()
            if not len(group):
                continue
            block = vectors_of(uri, group["embedding"])
            if vectors is None:
                vectors = storage.scratch((rows, block.shape[1]))
            vectors[end : end + len(block)] = block
            end += len(block)
            ids += group["image_id"].chunks
            people += group["identity"].chunks
            scores.append(np.asarray(group["score"], np.float32))
    if vectors is None:
        raise ArtifactError(f"{embeddings.uri}: no first faces to audit")
    names, identities = _numbered(pa.chunked_array(people, pa.string()))
    image_ids = pa.chunked_array(ids, pa.string()).combine_chunks()
    return Faces(image_ids, names, identities, vectors[:end], np.concatenate(scores))


def _numbered(column: pa.ChunkedArray) -> tuple[tuple[str, ...], np.ndarray]:
    encoded = column.combine_chunks().dictionary_encode()
    labels = encoded.dictionary.to_pylist()
    names = sorted({*labels} - {""})
    number_of = {name: number for number, name in enumerate(names)} | {"": NOBODY}
    numbers = np.array([number_of[label] for label in labels], np.int32)
    return tuple(names), numbers[np.asarray(encoded.indices)]
