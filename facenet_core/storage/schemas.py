"""The Arrow schemas of all shards.

They carry Hugging Face features in their metadata, so that `datasets` shows the `image` column as
pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES = b"huggingface"


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    name = {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
    return {"_type": "Value", "dtype": name}


def _schema(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    features = {name: _feature(kind) for name, kind in columns.items()}
    metadata = {_FEATURES: json.dumps({"info": {"features": features}}).encode()}
    return pa.schema(list(columns.items()), metadata=metadata)


RAW = _schema(
    {"image_id": pa.string(), "identity": pa.string(), "image": IMAGE, "sha256": pa.string()}
)
SKIPPED = _schema({"path": pa.string(), "reason": pa.string(), "detail": pa.string()})
CROPS = _schema(
    {
        "image_id": pa.string(),
        "identity": pa.string(),
        "face_index": pa.int32(),
        "image": IMAGE,
        "box": pa.list_(pa.float32(), 4),
        "landmarks": pa.list_(pa.float32(), 10),
        "score": pa.float32(),
    }
)
REJECTS = _schema(
    {
        "image_id": pa.string(),
        "identity": pa.string(),
        "reason": pa.string(),
        "detail": pa.string(),
    }
)
PAIRS = _schema(
    {
        "fold": pa.int32(),
        "image_id_a": pa.string(),
        "image_id_b": pa.string(),
        "same": pa.bool_(),
        "distance": pa.float32(),
    }
)
EMBEDDINGS = _schema(
    {"image_id": pa.string(), "identity": pa.string(), "embedding": pa.list_(pa.float32())}
)

FINDINGS = _schema(
    {
        "kind": pa.string(),
        "image_id": pa.string(),
        "identity": pa.string(),
        "other_image_id": pa.string(),
        "other_identity": pa.string(),
        "distance": pa.float32(),
        "severity": pa.float32(),
        "reason": pa.string(),
    }
)
KEEP = _schema({"image_id": pa.string(), "identity": pa.string()})


def crop_embeddings(dimensions: int, flipped: bool = False) -> pa.Schema:
    """Of the embed stage: a row for each crop, its embedding of unit length.

    Args:
        flipped: with a second column, the embedding of the mirrored crop.
    """
    columns: dict[str, pa.DataType] = {
        "image_id": pa.string(),
        "identity": pa.string(),
        "face_index": pa.int32(),
        "score": pa.float32(),
        "embedding": pa.list_(pa.float32(), dimensions),
    }
    if flipped:
        columns["embedding_flipped"] = columns["embedding"]
    return _schema(columns)


def leaf_names(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns' leaves, as compression settings want them."""
    leaves = []
    for column in schema:
        if pa.types.is_struct(column.type):
            leaves += [f"{column.name}.{child.name}" for child in column.type]
        elif pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            leaves.append(f"{column.name}.list.element")
        else:
            leaves.append(column.name)
    return leaves
