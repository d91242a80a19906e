"""Crops for photographs in which no face was found: their middle.

davidsandberg/facenet's older aligner had this as `--use_center_crop`. It is a guess, useful where
every pair must be decided: in sets like LFW the face is in the middle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.alignment import crops, faces
from facenet_core.errors import PairsError
from facenet_core.evaluation.embeddings import Crop
from facenet_core.imaging import decode
from facenet_core.storage import Artifact, parquet

# Of LFW's faces, found in 250×250 pixels, the box is about this share of the side.
_SHARE = 0.5


def centre_crops(crops: Artifact, image_ids: Collection[str]) -> Iterator[Crop]:
    """Centre crops of photographs, as the artifact's own crops are made of faces.

    Half of the photograph's shorter side is taken for the face; the margin is added, and the result
    scaled and encoded as the artifact's settings say. A photograph that cannot be decoded is left
    out.

    Args:
        crops: artifact of crops.
        image_ids: images to crop, rejects of the artifact.

    Raises:
        PairsError: the photographs that the crops were made of are no longer there.
    """
    config = faces.settings_of(crops.uri, crops.config)
    config = config.model_copy(update={"scale_above": config.max_pixels})  # never scaled down
    for image_id, identity, data in _photographs(crops, image_ids):
        try:
            pixels = faces.decode_configured(data, config).pixels
        except decode.UndecodableImage:
            continue
        face = centre_crop(pixels, config.image_size, config.margin)
        encoded = decode.encode(face, config.image_format, config.jpeg_quality)
        yield Crop(image_id, identity, encoded)


def centre_crop(pixels: np.ndarray, image_size: int, margin: float) -> np.ndarray:
    """The middle of a photograph uint8 [h, w, 3] as a crop uint8 [image_size, image_size, 3]."""
    height, width = pixels.shape[:2]
    half = _SHARE * min(height, width) / 2
    middle = np.array([width / 2, height / 2])
    return crops.crop(pixels, np.concatenate([middle - half, middle + half]), image_size, margin)


def _photographs(crops: Artifact, image_ids: Collection[str]) -> Iterator[tuple[str, str, bytes]]:
    """Image id, identity and bytes of photographs, in the order of the raw shards."""
    source = crops.inputs[0].uri if crops.inputs else ""
    raw = storage.find_artifact(source) if source else None
    if raw is None:
        raise PairsError(
            f"missing: centre-crop needs the photographs that {crops.uri} was made of, and there "
            f"is no finished artifact in {source or 'its manifest'}; ingest them again, or set "
            "missing: skip"
        )
    for part in raw.part_uris("images"):
        ids = parquet.read_table(part, ["image_id"])["image_id"].to_pylist()
        if not any(image_id in image_ids for image_id in ids):
            continue
        for group in parquet.read_row_groups(part, ["image_id", "identity", "image"]):
            names = group["image_id"].to_pylist()
            rows = [row for row, image_id in enumerate(names) if image_id in image_ids]
            for row in group.take(pa.array(rows, pa.int64())).to_pylist():
                yield row["image_id"], row["identity"], row["image"]["bytes"]
