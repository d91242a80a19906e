"""Whom a model was trained on: names in its manifest or, of many people, in a file beside it."""

from __future__ import annotations

import pyarrow as pa

from facenet_core.storage import parquet
from facenet_core.storage.artifact import Artifact
from facenet_core.storage.files import join

# A manifest is read whole by everybody who opens the artifact.
_MANY = 20_000
_FILE = "identities.parquet"
_DETAIL = "labels"


def write(
    uri: str, fingerprint: str, names: pa.StringArray
) -> tuple[list[str], dict[str, list[str]]]:
    """Note the names, by label, of a model that is written to `uri`.

    Returns:
        The names of the files written, and what belongs into the manifest's details.
    """
    if len(names) <= _MANY:
        return [], {_DETAIL: names.to_pylist()}
    parquet.write_table(join(uri, _FILE), pa.table({"identity": names}), fingerprint)
    return [_FILE], {}


def read(model: Artifact) -> pa.StringArray | None:
    """The names by label; None where a model does not say, such as one from elsewhere.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    if model.has_file(_FILE):
        column = parquet.read_table(model.file_uri(_FILE))["identity"].combine_chunks()
        return column.cast(pa.string())
    names = model.details.get(_DETAIL)
    if names is None:
        return None
    # JSON can name half a pair of surrogates.
    return pa.array([name.encode(errors="replace") for name in names], pa.binary()).cast("string")
