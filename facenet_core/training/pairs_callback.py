"""The LFW protocol on the way: how well the network of an epoch verifies people it never sees."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from facenet_core import storage
from facenet_core.config import TrainConfig, ValidateConfig
from facenet_core.evaluation.embeddings import embed_crops
from facenet_core.evaluation.evaluated_pairs import choose_pairs
from facenet_core.evaluation.protocol.verification import check_folds, verify
from facenet_core.models.face_model import FaceModel
from facenet_core.models.runtimes import open_runtime
from facenet_core.models.standardization import of_flag
from facenet_core.training.engine import distribution

FIGURES = ("lfw_accuracy", "lfw_val_rate", "lfw_auc")


class Monitor:
    """Pairs of an artifact of crops, chosen once, and a network that is measured on them.

    Raises:
        ArtifactError: `lfw_dir` is not a finished artifact of crops.
        PairsError: the pairs do not fit it, or are too few.
    """

    def __init__(self, config: TrainConfig, network: keras.Model) -> None:
        assert config.lfw_dir is not None
        self._crops = storage.open_artifact(config.lfw_dir, "align")
        self._config = validation_config(config)
        self._pairs = choose_pairs(self._crops, self._config)
        check_folds(self._pairs.same, self._pairs.fold)
        standardization = of_flag(config.use_fixed_image_standardization)
        # Keras takes new weights each epoch; OpenVINO would compile the network again.
        self._runtime = open_runtime(FaceModel.from_network(network, standardization), "keras")

    def measure(self, weights: Sequence[np.ndarray]) -> dict[str, float]:
        """`FIGURES` of the network with these weights, in the order of `keras.Model.weights`."""
        with distribution.own_devices():
            self._runtime.model.network.set_weights(weights)
            embeddings = embed_crops(
                self._crops, self._pairs.image_ids(), self._runtime, self._config
            )
        verification = verify(
            embeddings.vectors,
            self._pairs.indexed(embeddings),
            distance_metric=self._config.distance_metric,
            subtract_mean=self._config.subtract_mean,
            far_target=self._config.far_target,
        )
        metrics = (verification.accuracy, verification.val_rate, verification.auc)
        return dict(zip(FIGURES, map(float, metrics), strict=True))


def validation_config(config: TrainConfig) -> ValidateConfig:
    """What `facenet validate` would be asked for the same metrics."""
    return ValidateConfig(
        pairs=config.lfw_pairs,
        lfw_nrof_folds=config.lfw_nrof_folds,
        distance_metric=config.lfw_distance_metric,
        use_flipped_images=config.lfw_use_flipped_images,
        subtract_mean=config.lfw_subtract_mean,
    )
