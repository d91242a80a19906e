"""Images that an audit speaks against, which training leaves out."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing

import numpy as np
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.errors import ConfigError
from facenet_core.storage import Artifact, parquet
from facenet_core.training.input.stream import first_face_ids

_FINDINGS = "findings.parquet"


def require_same_crops(config: TrainConfig, crops: Artifact) -> None:
    """Raises ConfigError where the audit is one of other crops."""
    if config.audit is None:
        return
    audited = storage.open_artifact(config.audit, "audit").details.get("crops")
    if audited != crops.fingerprint:
        raise ConfigError(
            f"audit: {config.audit} is of the crops {audited}, not of {crops.uri}; audit these"
        )


def rows_with_findings(crops: Artifact, audit_uri: str, kinds: Collection[str]) -> np.ndarray:
    """Bool [rows], the first faces of crops that have findings of these kinds, by row number.

    Raises:
        ArtifactError: the audit is not finished, or a part is damaged.
    """
    audit = storage.open_artifact(audit_uri, "audit")
    findings = parquet.read_table(audit.file_uri(_FINDINGS), ["kind", "image_id"])
    of_kinds = findings.filter(pc.field("kind").isin(list(kinds)))
    image_ids = of_kinds["image_id"].combine_chunks()
    with closing(first_face_ids(crops.part_uris("crops"))) as parts:
        rows = [np.asarray(pc.is_in(ids, value_set=image_ids), bool) for ids in parts]
    return np.concatenate([np.empty(0, bool), *rows])
