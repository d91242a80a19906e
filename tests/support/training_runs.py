"""Small trainings that run from crops to a published model."""

from __future__ import annotations

import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.models.face_model import FaceModel
from facenet_core.training import stage

SMALL = TrainConfig(
    model_def="tests.support.small_crops:tiny",
    image_size=32,
    embedding_size=8,
    batch_size=6,
    max_nrof_epochs=3,
    epoch_size=5,
    optimizer="adam",
    learning_rate=0.05,
    batch_norm_decay=0.5,
    nrof_preprocess_threads=2,
)


def changed(config, **fields):
    """The configuration with fields set, checked as if it came from a file."""
    return TrainConfig(**{**config.model_dump(exclude_unset=True), **fields})


def run(root, crops_uri, config, run_id="run", progress=None):
    """Plan, train and finish; the URI of the model."""
    plan = stage.plan_train(root, crops_uri, config)
    trained = stage.train(plan, config, run_id=run_id, progress=progress)
    stage.finish(plan, trained, {})
    return plan.uri


def weights(model_uri):
    return FaceModel.load(model_uri).network.get_weights()


def history(model_uri):
    table = pq.read_table(storage.join(model_uri, "history.parquet"))
    return table.drop_columns(["images_per_second"]).to_pylist()


class Killed(Exception):
    pass


def kill_at(step):
    def progress(now):
        if now.step == step:
            raise Killed

    return progress
