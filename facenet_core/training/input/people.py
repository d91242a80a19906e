"""Who is trained on: people with enough images, their labels, and what is held or left out.

Images that show somebody else are those far from the centre of their person's embeddings, after
davidsandberg/facenet's `calculate_filtering_metrics.py` and `filter_dataset`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facenet_core import storage
from facenet_core.cache import cache_folder
from facenet_core.config import TrainConfig
from facenet_core.errors import TrainingError
from facenet_core.prefetch import ahead
from facenet_core.training.input.crops import Crops

if TYPE_CHECKING:
    from facenet_core.models.face_model import FaceModel

logger = logging.getLogger(__name__)
_BATCH = 128


@dataclass(frozen=True)
class Selection:
    """The rows of a data set that training and validation use.

    Attributes:
        identities: the people, strings that are sorted; a label is an index into this.
        labels: int32 [rows of the data set]; −1 for images and people left out.
        training, validation: row numbers int64, growing.
    """

    identities: pa.StringArray
    labels: np.ndarray
    training: np.ndarray
    validation: np.ndarray


def select(
    identities: pa.StringArray,
    identity_of_row: np.ndarray,
    config: TrainConfig,
    usable: np.ndarray | None = None,
) -> Selection:
    """Leave out people with few images, give the others labels, hold images of each out.

    Of a person with n images, ⌈n · validation_set_split_ratio⌉ drawn by the seed are held out, but
    never the last one, and none of people with fewer than `min_nrof_val_images_per_class`.

    Args:
        identities: names, in any order.
        identity_of_row: int [rows], index into `identities`.
        config: `filter_min_nrof_images_per_class`, `validation_set_split_ratio`,
            `min_nrof_val_images_per_class` and `seed`.
        usable: bool [rows], images that nothing speaks against; default: all.

    Raises:
        TrainingError: fewer than two people are left, or with `loss: none` nobody.
    """
    if usable is None:
        usable = np.ones(len(identity_of_row), bool)
    sizes = np.bincount(identity_of_row[usable], minlength=len(identities))
    least = max(config.filter_min_nrof_images_per_class, 1)
    remaining = np.flatnonzero(sizes >= least)
    remaining = remaining[np.asarray(pc.sort_indices(identities.take(remaining)))]
    if len(remaining) < (1 if config.loss == "none" else 2):
        raise TrainingError(
            f"{len(remaining)} of {len(identities)} identities have {least} images or more "
            "(filter_min_nrof_images_per_class); to tell people apart takes two at least: add "
            "people, or ask for fewer images of each"
        )
    label_of = np.full(len(identities), -1, np.int32)
    label_of[remaining] = np.arange(len(remaining), dtype=np.int32)
    labels = np.where(usable, label_of[identity_of_row], -1).astype(np.int32)
    held_out = _held_out(labels, config)
    return Selection(
        identities.take(remaining),
        labels,
        np.flatnonzero((labels >= 0) & ~held_out),
        np.flatnonzero(held_out),
    )


def _held_out(labels: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Bool [rows]: the images of each person that come first in a random order."""
    result = np.zeros(len(labels), bool)
    ratio = config.validation_set_split_ratio
    if ratio == 0:
        return result
    order = np.lexsort([np.random.default_rng(config.seed).random(len(labels)), labels])
    order = order[labels[order] >= 0]
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sizes = np.diff([*starts, len(order)])
    # Rounded first: 10 · 0.3 is a little more than 3.
    counts = np.minimum(sizes - 1, np.ceil(np.round(sizes * ratio, 9)))
    counts[sizes < config.min_nrof_val_images_per_class] = 0
    turn = np.arange(len(order)) - np.repeat(starts, sizes)  # of an image among its person's
    result[order[turn < np.repeat(counts, sizes)]] = True
    return result


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
    from facenet_core.models.face_model import FaceModel  # imports Keras

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
