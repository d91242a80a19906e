"""Artifacts of the stage `embed`, as others read them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.errors import ArtifactError, ConfigError
from facenet_core.storage import Artifact, Input, Plan

FOLDER = "embeddings"
# In the footers of tables of embeddings: what made them.
MODEL, MODEL_NAME = b"facenet:model", b"facenet:model_name"


def naming_model(schema: pa.Schema, fingerprint: str, name: str) -> pa.Schema:
    """The schema with the model in its metadata, which becomes the footer's."""
    metadata = {MODEL: fingerprint.encode(), MODEL_NAME: name.encode()}
    return schema.with_metadata({**(schema.metadata or {}), **metadata})


def is_embeddings(uri: str) -> bool:
    """Whether an artifact of the stage `embed` lies at a URI."""
    artifact = storage.find_artifact(uri)
    return artifact is not None and artifact.stage == "embed"


def crops_of(embeddings: Artifact | Plan) -> Input:
    """The crops that were embedded: part i of these became part i."""
    return embeddings.inputs[0]


def model_of(embeddings: Artifact | Plan) -> Input:
    """The model that embedded them."""
    return embeddings.inputs[1]


def require_model(embeddings: Artifact, fingerprint: str) -> None:
    """Raises ConfigError where another model than this one made the embeddings."""
    own = model_of(embeddings).fingerprint
    if own != fingerprint:
        raise ConfigError(
            f"{embeddings.uri}: embedded with the model {own}, another was named: {fingerprint}; "
            "leave the model out, or embed the crops with that one"
        )


def require_flipped(embeddings: Artifact) -> None:
    """Raises ConfigError where the embeddings of mirrored images are not among them."""
    if not embeddings.config.get("use_flipped_images"):
        raise ConfigError(
            f"{embeddings.uri}: holds no embeddings of mirrored images, which use_flipped_images "
            "needs; run `facenet embed` again with --use-flipped-images"
        )


def vectors(column: pa.ChunkedArray) -> np.ndarray:
    """A column of embeddings as float32 [n, d].

    Raises:
        ArtifactError: they are not of one size.
    """
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
    else:
        lengths = np.unique(np.asarray(array.value_lengths()))
        if len(lengths) != 1:
            raise ArtifactError(f"embeddings of {len(lengths)} sizes in one table")
        size = int(lengths[0])
    return np.asarray(array.flatten(), np.float32).reshape(len(array), size)
