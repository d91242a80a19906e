"""Import an InsightFace verification set as a crops artifact with its own pairs.

plan = plan_import(root, "lfw.bin")
manifest = import_set(plan, "lfw.bin", run)

Its images are aligned already and become crops unchanged, each image once however many pairs it is
in. They have no identity, because the file has none.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from facenet_core import storage
from facenet_core.datasets.pairs import verification_bin
from facenet_core.imaging.formats import openable
from facenet_core.storage import Input, Manifest, Part, Plan, parquet, schemas

_MOST_PIXELS = 2**22  # of an image: these are aligned faces

STAGE_FORMAT = 2
_IMAGES_A_SHARD = 4096
_UNDECODABLE = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
)


def is_set(uri: str) -> bool:
    """Whether this is the file name of a verification set."""
    return uri.endswith(".bin")


def plan_import(root: str, uri: str) -> Plan:
    """Plan the crops of a verification set.

    Raises:
        PairsError: there is no such file.
    """
    if not storage.exists(uri):
        verification_bin.read(uri)  # which says so
    stem = posixpath.splitext(posixpath.basename(uri))[0]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "verification-set"
    source_input = Input(uri, storage.sha256(uri)[:16])
    return storage.plan_stage(
        root, "align", name, {"verification_set": True}, [source_input], STAGE_FORMAT
    )


def import_set(plan: Plan, uri: str, run: Mapping[str, Any]) -> Manifest:
    """Write the crops and the pairs, and publish them.

    Raises:
        PairsError: not a verification set; see `verification_bin.read`.
    """
    verification_set = verification_bin.read(uri)
    names: dict[bytes, str] = {}
    name_of = []
    for number, image in enumerate(verification_set.images):
        name_of.append(names.setdefault(hashlib.sha256(image).digest(), f"{number:06d}.jpg"))
    firsts = [number for number, name in enumerate(name_of) if name == f"{number:06d}.jpg"]
    parts: list[Part] = []
    rejects = []
    for shard in range(0, len(firsts), _IMAGES_A_SHARD):
        name = f"crops/{parquet.part_name(len(parts))}"
        part_uri = storage.join(plan.uri, name)
        with parquet.PartWriter(part_uri, schemas.CROPS, plan.fingerprint) as writer:
            for number in firsts[shard : shard + _IMAGES_A_SHARD]:
                row = _row(name_of[number], verification_set.images[number])
                if "reason" in row:
                    rejects.append(row)
                else:
                    writer.write(row)
        parts.append(parquet.describe_part(plan.uri, name))
    name = f"rejects/{parquet.part_name(0)}"
    with parquet.PartWriter(
        storage.join(plan.uri, name), schemas.REJECTS, plan.fingerprint
    ) as writer:
        for row in rejects:
            writer.write(row)
    parts.append(parquet.describe_part(plan.uri, name))
    parts.append(_write_pairs(plan, verification_set.same, name_of))
    counts = {
        "images": len(firsts),
        "crops": len(firsts) - len(rejects),
        "aligned": len(firsts) - len(rejects),
        "rejects": len(rejects),
        "pairs": len(verification_set.same),
    }
    return storage.publish(plan, storage.Outcome(parts, counts), run)


def _row(name: str, data: bytes) -> dict[str, Any]:
    key = {"image_id": name, "identity": ""}
    try:
        with Image.open(io.BytesIO(data), formats=openable()) as image:
            if image.width * image.height > _MOST_PIXELS:
                detail = f"{image.width}x{image.height} pixels, at most {_MOST_PIXELS}"
                return {**key, "reason": "too_large", "detail": detail}
            image.convert("RGB")
            width, height = image.size
    except _UNDECODABLE as error:
        return {**key, "reason": "undecodable", "detail": str(error)}
    return {
        **key,
        "face_index": 0,
        "image": {"bytes": data, "path": name},
        "box": [0.0, 0.0, float(width), float(height)],
        "landmarks": None,
        "score": None,
    }


def _write_pairs(plan: Plan, same: np.ndarray, name_of: list[str]) -> Part:
    """Write pairs without folds: folds are cut by position when the pairs are read."""
    table = pa.table(
        {"image_id_a": name_of[::2], "image_id_b": name_of[1::2], "same": pa.array(same)}
    )
    parquet.write_table(storage.join(plan.uri, "pairs.parquet"), table, plan.fingerprint)
    return storage.describe_file(plan.uri, "pairs.parquet", rows=table.num_rows)
