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
from facenet_core.models.face_model import Embedder

FIGURES = ("lfw_accuracy", "lfw_val_rate", "lfw_auc")


class Monitor:
    """Pairs of an artifact of crops, chosen once, and a network that is measured on them.

    Raises:
        ArtifactError: `lfw_dir` is not a finished artifact of crops.
        PairsError: the pairs do not fit it, or are too few.
    """

    def __init__(self, config: TrainConfig, network: keras.Model) -> None:
        assert config.lfw_dir is not None
        self._uri = config.lfw_dir
        self._crops = storage.open_artifact(self._uri, "align")
        self._config = validation_config(config)
        self._trial = choose_pairs(self._uri, self._crops, self._config)
        chosen = self._trial.evaluated
        self._same, self._fold = self._trial.pairs.same[chosen], self._trial.pairs.fold[chosen]
        check_folds(self._same, self._fold)
        self._embedder = Embedder(
            network,
            config.image_size,
            config.embedding_size,
            config.use_fixed_image_standardization,
            name="training",
            fingerprint="",
        )

    def measure(self, weights: Sequence[np.ndarray]) -> dict[str, float]:
        """`FIGURES` of the network with these weights, in the order of `keras.Model.weights`."""
        self._embedder.network.set_weights(weights)
        pairs, chosen = self._trial.pairs, self._trial.evaluated
        a, b = pairs.image_id_a[chosen], pairs.image_id_b[chosen]
        embeddings = embed_crops(
            self._uri,
            self._crops,
            {*a, *b},
            self._embedder,
            batch_size=self._config.lfw_batch_size,
            use_flipped_images=self._config.use_flipped_images,
        )
        found = verify(
            embeddings.vectors,
            embeddings.rows(a),
            embeddings.rows(b),
            self._same,
            self._fold,
            distance_metric=self._config.distance_metric,
            subtract_mean=self._config.subtract_mean,
            far_target=self._config.far_target,
        )
        figures = (found.accuracy, found.val_rate, found.auc)
        return dict(zip(FIGURES, map(float, figures), strict=True))


def validation_config(config: TrainConfig) -> ValidateConfig:
    """What `facenet validate` would be asked for the same figures."""
    return ValidateConfig(
        pairs=config.lfw_pairs,
        lfw_nrof_folds=config.lfw_nrof_folds,
        distance_metric=config.lfw_distance_metric,
        use_flipped_images=config.lfw_use_flipped_images,
        subtract_mean=config.lfw_subtract_mean,
    )
