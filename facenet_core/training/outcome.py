"""Writing a finished training: the network of the last or best epoch, its history, its logs."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from contextlib import suppress

import keras
import numpy as np

from facenet_core import storage
from facenet_core.errors import TrainingError
from facenet_core.models.face_model import MODEL_FILE
from facenet_core.storage import Outcome, Plan
from facenet_core.training import checkpoints
from facenet_core.training.engine import threads
from facenet_core.training.history import HISTORY_FILE, LOGS, write_history
from facenet_core.training.trainer import Trainer

# Beside `model.keras`, where that holds moving averages: the weights they are averages of.
RAW_FILE = "model-raw.keras"


def write(plan: Plan, trainer: Trainer) -> Outcome:
    """Write the model, its history and its logs, copied from the attempts.

    Raises:
        TrainingError: the checkpoint of the best epoch, which is to be kept, is gone.
    """
    best = trainer.best_step
    if trainer.config.keep_best and best is not None and best != trainer.step:
        checkpoint = checkpoints.of_step(plan.uri, best, trainer.variables)
        if checkpoint is None:
            raise TrainingError(f"{plan.uri}: the checkpoint of the best step, {best}, is gone")
        trainer.take_back_to(checkpoint)
    weights, raw = trainer.weights()
    files = [MODEL_FILE] if raw is None else [MODEL_FILE, RAW_FILE]
    network = trainer.network()
    for name, values in zip(files, (weights, raw), strict=False):
        _save_network(network, values, storage.join(plan.uri, name))
    write_history(plan.uri, trainer.history, plan.fingerprint)
    names = []
    for uri in storage.list_files(storage.join(plan.uri, checkpoints.ATTEMPTS)):
        if posixpath.basename(posixpath.dirname(uri)) == LOGS:
            name = posixpath.join(LOGS, posixpath.basename(uri))
            with suppress(FileNotFoundError):  # a run beside this one ended and cleared up
                storage.write_bytes(storage.join(plan.uri, name), storage.read_bytes(uri))
                names.append(name)
    parts = [
        storage.describe_file(plan.uri, HISTORY_FILE, rows=len(trainer.history)),
        *(storage.describe_file(plan.uri, name) for name in files + names),
    ]
    chosen, config = trainer.data.selection, trainer.config
    counts = {
        "identities": len(chosen.identities),
        "training_images": len(chosen.training),
        "validation_images": len(chosen.validation),
        "epochs": trainer.history[-1]["epoch"],
        "steps": trainer.step,
    }
    kept = trainer.own_history[-1]
    if config.keep_best and best is not None:
        kept = next(row for row in trainer.own_history if row["step"] == best)
    details = {
        "model_def": config.model_def,
        "image_size": config.image_size,
        "embedding_size": config.embedding_size,
        "use_fixed_image_standardization": config.use_fixed_image_standardization,
        "parameters": network.count_params(),
        "loss": config.loss,
        "threads": threads.current(),
        "best_step": best,
        "final": {key: kept[key] for key in kept if key != "images_per_second"},
        "labels": list(chosen.identities),
    }
    crops = storage.open_artifact(plan.inputs[0].uri, "align")
    if "crop" in crops.config:
        details["crop"] = crops.config["crop"]
    return Outcome(tuple(parts), counts, details)


def _save_network(network: keras.Model, weights: Sequence[np.ndarray], uri: str) -> None:
    network.set_weights(weights)
    with storage.temporary_folder() as folder:
        local = folder / MODEL_FILE
        network.save(local)
        storage.copy_file(local, uri)
