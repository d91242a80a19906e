"""What is trained on: crops, how they are read, and who on them is held out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.errors import TrainingError
from facenet_core.storage import Artifact
from facenet_core.training import diagnostics
from facenet_core.training.input import audits, cache, people, stream, teacher
from facenet_core.training.input.crops import Crops, decoding_threads, require_room
from facenet_core.training.input.mixes import Mixes
from facenet_core.training.input.people import Selection
from facenet_core.training.ranks import ALONE, Rank

if TYPE_CHECKING:
    from facenet_core.training.step import Batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The crops, who is on them, and their size (height, width) in pixels.

    Attributes:
        dropped: images that are left out for what an audit says of them.
        teacher: float32 [rows, 1 or 2, d], the teacher's embeddings of each image and, where
            images are mirrored, of the mirrored one; None without a teacher.
        mixes: images behind the crops, if there are any.
        rank: whose part of each batch is decoded here.
    """

    crops: Crops
    selection: Selection
    crop_size: tuple[int, int]
    dropped: int = 0
    rank: Rank = ALONE
    teacher: np.ndarray | None = None
    mixes: Mixes | None = None

    @property
    def teacher_size(self) -> int | None:
        """Dimensions of the teacher's embeddings."""
        return None if self.teacher is None else self.teacher.shape[-1]

    def batch(self, rows: np.ndarray, drawn: np.ndarray) -> tuple[Batch, np.ndarray]:
        """Images of rows, with what `augmentation` drew for them, and their labels int32 [n].

        Of a batch [n · ranks, …] this rank's part alone.
        """
        own = self.rank.own(len(rows))
        rows, drawn = rows[own], drawn[own]
        if self.mixes is None:
            images = self.crops.decode_rows(rows, self.crop_size)
        else:
            images = self.mixes.decode_rows(self.crops, rows, self.crop_size)
        batch = {"images": images, "drawn": drawn}
        if self.teacher is not None:
            from facenet_core.training.augmentation import MIRRORED  # and, with it, Keras

            mirrored = (drawn[:, MIRRORED] > 0).astype(int)
            batch["teacher"] = self.teacher[rows, mirrored]
        return batch, self.selection.labels[rows]


def how_to_read(crops: Artifact, config: TrainConfig) -> str:
    """`cache` or `stream`: what `read_crops: auto` comes to for these crops, here and now."""
    if config.read_crops != "auto":
        return config.read_crops
    path, needed = cache.path_of(crops), cache.needed(crops)
    if config.reads_at_random or path.exists():
        return "cache"
    limit = cache.limit(config.crop_cache_gib)
    if needed <= (room := cache.capacity(path.parent, limit)):
        return "cache"
    logger.warning(
        "read_crops: the crops take %.1f GiB and %.1f fit into %s, so they are read from storage "
        "as training goes",
        needed / cache.GIB,
        room / cache.GIB,
        path.parent,
    )
    return "stream"


def open_data(crops_uri: str, config: TrainConfig, rank: Rank = ALONE) -> Data:
    """The crops, and who among them is trained on and held out.

    Raises:
        ArtifactError: the crops or the model that filters them are missing or damaged.
        TrainingError: no crops, crops that are too small, or too few people.
    """
    artifact = storage.open_artifact(crops_uri, "align")
    if how_to_read(artifact, config) == "stream":
        crops: Crops = stream.open_stream(artifact)
    else:
        limit = cache.limit(config.crop_cache_gib)
        crops = cache.open_copy(artifact, limit)
    if not len(crops):
        raise TrainingError(f"{crops_uri}: no crops to train on; see the rejects of its alignment")
    height, width = crops.decode(0).shape[:2]
    require_room((height, width), config.image_size)
    usable = np.ones(len(crops), bool)
    if config.audit is not None:
        usable = ~audits.rows_with_findings(artifact, config.audit, config.drop)
    dropped = int((~usable).sum())
    embeddings = None
    if config.teacher is not None:
        embeddings, taught = teacher.read(
            artifact, config.teacher, config.random_flip, config.teacher_mixes
        )
        usable &= taught
    if config.filter_model is not None and config.filter_percentile < 100:
        threads = decoding_threads(config.nrof_preprocess_threads)
        size, model = (height, width), config.filter_model
        usable &= people.near_rows(crops, size, model, config.filter_percentile, threads)
    try:
        selection = people.select(crops.identities, crops.identity_of_row, config, usable)
    except TrainingError as error:
        raise TrainingError(f"{crops_uri}: {error}") from None
    if warning := diagnostics.center_warning(selection, config):
        logger.warning(warning)
    _require_held_out(selection, config)
    if config.random_crop and (height, width) == (config.image_size,) * 2:
        logger.warning(
            "random_crop has no effect: the crops are as large as image_size (%d); align them "
            "larger, or train with a smaller image_size",
            config.image_size,
        )
    mixes = None
    if config.teacher is not None and config.teacher_mixes:
        assert embeddings is not None
        assert isinstance(crops, cache.CropFile)  # as these are read at random
        mixes = Mixes.draw(selection.training, config.teacher_mixes, config.seed)
        teacher.ask(config.teacher, crops, mixes, embeddings[len(crops) :], config)
        selection = replace(
            selection,
            labels=np.concatenate([selection.labels, selection.labels[mixes.rows[:, 0]]]),
            training=np.concatenate([selection.training, len(crops) + np.arange(len(mixes))]),
        )
    return Data(crops, selection, (height, width), dropped, rank, embeddings, mixes)


def _require_held_out(selection: Selection, config: TrainConfig) -> None:
    """Say where images were to be held out and there are none.

    Raises:
        TrainingError: training is to be stopped or selection by them.
    """
    if not config.validation_set_split_ratio or len(selection.validation):
        return
    nrof_people, least = len(selection.identities), max(config.min_nrof_val_images_per_class, 2)
    message = (
        f"validation_set_split_ratio: no image is held out, as none of {nrof_people:,} "
        f"people has {least:,} images (the last of a person is always trained on); measure on "
        "other people with lfw_dir"
    )
    if config.watches and config.monitor == "validation_accuracy":
        raise TrainingError(f"{message}. early_stop and keep_best would have nothing to go by")
    logger.warning(message)
