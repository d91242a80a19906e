"""Images that an audit speaks against, which training leaves out."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.errors import ConfigError
from facenet_core.storage import Artifact, parquet

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
    rows = [np.empty(0, bool)]
    for part in crops.part_uris("crops"):
        table = parquet.read_table(part, ["image_id", "face_index"])
        first = table.filter(pc.equal(table["face_index"], 0))
        rows.append(np.asarray(pc.is_in(first["image_id"], value_set=image_ids), bool))
    return np.concatenate(rows)
