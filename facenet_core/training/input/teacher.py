"""The teacher's embeddings of the images that a network is trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.embedding import artifact
from facenet_core.errors import TrainingError
from facenet_core.storage import Artifact, parquet
from facenet_core.training.input.stream import first_face_ids

logger = logging.getLogger(__name__)


def read(crops: Artifact, embeddings_uri: str, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's embeddings of the first faces of crops, by row number.

    They may be of other crops of the same photographs; images go by their ids.

    Args:
        mirrored: with those of the mirrored images.

    Returns:
        Float32 [rows, 1 or 2, d] of unit length, on disk, and bool [rows], whether the teacher
        has any of the image.

    Raises:
        ArtifactError: the embeddings are not finished, or a part is missing or damaged.
        ConfigError: there are none of mirrored images.
        TrainingError: they are of none of these images.
        StorageError: there is no room for them in $TMPDIR.
    """
    embeddings = storage.open_artifact(embeddings_uri, "embed")
    if mirrored:
        artifact.require_flipped(embeddings)
    columns = ["embedding", "embedding_flipped"][: 1 + mirrored]
    own = _all_ids(crops.part_uris("crops"))
    parts = embeddings.part_uris(artifact.FOLDER)
    rows = pc.index_in(_all_ids(parts), value_set=own)
    row_of = np.asarray(pc.fill_null(rows, -1), np.int64)
    taught = np.zeros(len(own), bool)
    taught[row_of[row_of >= 0]] = True
    if not taught.any():
        raise TrainingError(
            f"teacher: {embeddings_uri} holds no embedding of an image of {crops.uri}; embed these "
            "crops, or crops of the same photographs"
        )
    if missing := int((~taught).sum()):
        logger.warning(
            "teacher: %d of %d images have no embedding in %s and are left out",
            *(missing, len(taught), embeddings_uri),
        )
    vectors = storage.scratch((len(own), len(columns), embeddings.details["embedding_size"]))
    end = 0
    for uri in parts:
        for group in parquet.read_row_groups(uri, [*columns, "face_index"]):
            group = group.filter(pc.equal(group["face_index"], 0))
            start, end = end, end + len(group)
            wanted = row_of[start:end] >= 0
            for number, column in enumerate(columns):
                block = artifact.vectors(uri, group[column])
                vectors[row_of[start:end][wanted], number] = block[wanted]
    return vectors, taught


def _all_ids(part_uris: Sequence[str]) -> pa.Array:
    with closing(first_face_ids(part_uris)) as parts:
        chunks = [chunk for ids in parts for chunk in ids.chunks]
    return pa.chunked_array(chunks, pa.string()).combine_chunks()
