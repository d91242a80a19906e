"""The teacher's embeddings of the images that a network is trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.embedding import artifact
from facenet_core.errors import TrainingError
from facenet_core.prefetch import ahead
from facenet_core.storage import Artifact, parquet
from facenet_core.training.input.cache import CropFile, limit, open_copy
from facenet_core.training.input.crops import decoding_threads
from facenet_core.training.input.mixes import Mixes
from facenet_core.training.input.stream import first_face_ids

logger = logging.getLogger(__name__)
_BATCH = 64


def read(
    crops: Artifact, embeddings_uri: str, mirrored: bool, room: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's embeddings of the first faces of crops, by row number.

    They may be of other crops of the same photographs; images go by their ids.

    Args:
        mirrored: with those of the mirrored images.
        room: for so many more images.

    Returns:
        Float32 [rows + room, 1 or 2, d] of unit length, on disk, and bool [rows], whether the
        teacher has any of the image.

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
    size = embeddings.details["embedding_size"]
    vectors = storage.scratch((len(own) + room, len(columns), size))
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


def ask(
    embeddings_uri: str, crops: CropFile, mixes: Mixes, vectors: np.ndarray, config: TrainConfig
) -> None:
    """Have the teacher embed mixes of crops.

    It is shown the same mixes of its own crops, which it has embedded, and computes in the number
    format that the processor is fastest in.

    Args:
        vectors: float32 [n, 1 or 2, d], to be filled with embeddings of unit length.

    Raises:
        ArtifactError: the crops that it has embedded, or the teacher, are gone.
        TrainingError: as `open_copy`.
    """
    from facenet_core.models.face_model import FaceModel  # imports Keras
    from facenet_core.models.runtimes import open_runtime

    embeddings = storage.open_artifact(embeddings_uri, "embed")
    model = storage.open_artifact(artifact.model_of(embeddings).uri, "train")
    own_crops = open_copy(artifact.open_crops(embeddings), limit(config.crop_cache_gib))
    row_of = pc.index_in(crops.image_ids(), value_set=own_crops.image_ids())
    own_mixes = mixes.of_others(np.asarray(pc.fill_null(row_of, -1), np.int64))
    crop_size = own_crops.decode(0).shape[:2]

    def load(start: int) -> np.ndarray:
        numbers = np.arange(start, min(start + _BATCH, len(mixes)))
        return own_mixes.decode_rows(own_crops, len(own_crops) + numbers, crop_size)

    runtime = open_runtime(FaceModel.from_artifact(model))
    logger.info("the teacher, %s, embeds %d mixed images", model.name, len(mixes))
    starts = range(0, len(mixes), _BATCH)
    embed = runtime.embed_with_mirrored if config.random_flip else runtime
    threads = decoding_threads(config.nrof_preprocess_threads)
    with closing(ahead(load, starts, threads)) as batches:
        for start, images in zip(starts, batches, strict=True):
            asked = embed(images).reshape(len(images), *vectors.shape[1:])
            # In bfloat16 their length is 1 to three digits.
            asked /= np.linalg.norm(asked, axis=2, keepdims=True)
            vectors[start : start + len(asked)] = asked


def _all_ids(part_uris: Sequence[str]) -> pa.Array:
    with closing(first_face_ids(part_uris)) as parts:
        chunks = [chunk for ids in parts for chunk in ids.chunks]
    return pa.chunked_array(chunks, pa.string()).combine_chunks()
