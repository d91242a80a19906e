"""Artifacts of the stage `embed`, as others read them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.errors import ArtifactError, ConfigError
from facenet_core.storage import Artifact, Input, Plan

FOLDER = "embeddings"
GROUP_ROWS = 1024  # of a part
# In the footers of tables of embeddings: what made them.
MODEL, MODEL_NAME = b"facenet:model", b"facenet:model_name"


def naming_model(schema: pa.Schema, fingerprint: str, name: str) -> pa.Schema:
    """The schema with the model in its metadata, which becomes the footer's."""
    metadata = {MODEL: fingerprint.encode(), MODEL_NAME: name.encode()}
    return schema.with_metadata({**(schema.metadata or {}), **metadata})


def find_embeddings(source: str) -> Artifact | None:
    """The artifact of the stage `embed` that a source is; None where it is anything else."""
    if storage.is_address(source):
        return None
    artifact = storage.find_artifact(storage.absolute(source))
    if artifact is None or artifact.stage != "embed":
        return None
    return storage.check_artifact(artifact, "embed")


def open_crops(embeddings: Artifact) -> Artifact:
    """The crops that were embedded.

    Raises:
        ArtifactError: they are gone, or others lie there.
    """
    source = crops_of(embeddings)
    crops = storage.open_artifact(source.uri, "align")
    if crops.fingerprint != source.fingerprint:
        raise ArtifactError(f"{source.uri}: other crops than {embeddings.uri} was made of")
    return crops


def crops_of(embeddings: Artifact | Plan) -> Input:
    """The crops that were embedded: part i of these became part i."""
    return embeddings.inputs[0]


def model_of(embeddings: Artifact | Plan) -> Input:
    """The model that embedded them."""
    return embeddings.inputs[1]


def require_model(uri: str, own: str, fingerprint: str) -> None:
    """Raises ConfigError where another model than this one made the embeddings at `uri`.

    Args:
        own: fingerprint of the model that made them; empty where they do not say.
    """
    if own and own != fingerprint:
        raise ConfigError(
            f"{uri}: embedded with the model {own}, another was named: {fingerprint}; leave the "
            "model out, or embed the photographs with that one"
        )


def require_flipped(embeddings: Artifact) -> None:
    """Raises ConfigError where the embeddings of mirrored images are not among them."""
    if not embeddings.config.get("use_flipped_images"):
        raise ConfigError(
            f"{embeddings.uri}: holds no embeddings of mirrored images, which use_flipped_images "
            "needs; run `facenet embed` again with --use-flipped-images"
        )


def vectors(uri: str, column: pa.ChunkedArray) -> np.ndarray:
    """A column of embeddings of the table at `uri` as float32 [n, d].

    Raises:
        ArtifactError: they are not of one size.
    """
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
    else:
        lengths = np.unique(np.asarray(array.value_lengths()))
        if len(lengths) != 1:
            raise ArtifactError(f"{uri}: embeddings of {len(lengths)} sizes in one table")
        size = int(lengths[0])
    return np.asarray(array.flatten(), np.float32).reshape(len(array), size)
