"""Finding images that show somebody else: those far from the centre of their person's embeddings.

After davidsandberg/facenet's `calculate_filtering_metrics.py` and `filter_dataset`.
"""

from __future__ import annotations

import logging

import numpy as np

from facenet_core import storage
from facenet_core.cache import cache_folder
from facenet_core.models.face_model import FaceModel
from facenet_core.training.input.crops import Crops, ahead

logger = logging.getLogger(__name__)
_BATCH = 128


def near_rows(
    crops: Crops, crop_size: tuple[int, int], model_uri: str, percentile: float, threads: int
) -> np.ndarray:
    """Bool [rows]: the `percentile` percent of all images that are nearest to their centres.

    Args:
        crops: all of one size (height, width), `crop_size`.
        model_uri: a finished model. What it says of the crops is kept in the cache folder.

    Raises:
        ArtifactError: it is not a finished model.
        TrainingError: a crop cannot be decoded.
    """
    fingerprint = storage.open_artifact(model_uri, "train").fingerprint
    path = cache_folder() / "distances" / f"{crops.content}-{fingerprint}.npy"
    if not path.exists():
        logger.info("embedding %d crops with %s to filter them", len(crops), model_uri)
        embeddings = _embeddings(crops, crop_size, FaceModel.load(model_uri), threads)
        with storage.new_file(str(path), 0o600) as new, new.open("wb") as file:
            np.save(file, distances_to_centre(embeddings, crops.identity_of_row))
    distances = np.load(path)
    return distances <= np.percentile(distances, percentile)


def distances_to_centre(embeddings: np.ndarray, identity_of_row: np.ndarray) -> np.ndarray:
    """Float32 [n], distance of each embedding [n, d] to the mean of its person's."""
    sums = np.zeros((int(identity_of_row.max()) + 1, embeddings.shape[1]))
    np.add.at(sums, identity_of_row, embeddings)
    centres = sums / np.maximum(np.bincount(identity_of_row), 1)[:, None]
    return np.linalg.norm(embeddings - centres[identity_of_row], axis=1).astype(np.float32)


def _embeddings(
    crops: Crops, crop_size: tuple[int, int], embedder: FaceModel, threads: int
) -> np.ndarray:
    def load(start: int) -> np.ndarray:
        return crops.decode_rows(range(start, min(start + _BATCH, len(crops))), crop_size)

    batches = ahead(load, range(0, len(crops), _BATCH), threads)
    return np.concatenate([embedder.embed(images) for images in batches])
