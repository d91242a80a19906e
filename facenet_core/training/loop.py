"""Train: crop shards become a network that embeds faces.

plan = plan_train(root, crops_uri, config)
trained = train(plan, config, run_id="…", progress=print)
manifest = finish(plan, trained, run={})
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.engine import quietly
from facenet_core.errors import TrainingError
from facenet_core.models import registry
from facenet_core.models.embedder import MODEL_FILE
from facenet_core.storage import Input, Manifest, Part, Plan
from facenet_core.training import inputs, schedules, selection

if TYPE_CHECKING:
    from facenet_core.training.history import EventLog
    from facenet_core.training.trainer import Data, Trainer

STAGE_FORMAT = 1
LOGS = "logs"


@dataclass(frozen=True)
class Step:
    """How far training is. Figures are means of the last steps, None before the first are known."""

    step: int
    steps: int
    epoch: int
    epochs: int
    learning_rate: float
    loss: float | None
    cross_entropy: float | None
    center_loss: float | None
    weight_decay: float | None
    accuracy: float | None
    images_per_second: float | None


@dataclass(frozen=True)
class Trained:
    """What training made, for the manifest."""

    parts: tuple[Part, ...]
    counts: Mapping[str, int]
    details: Mapping[str, Any]


def plan_train(root: str, crops_uri: str, config: TrainConfig) -> Plan:
    """Where the model of these crops belongs.

    In the plan's configuration, `learning_rate` and `learning_rate_schedule_file` have become
    `learning_rate_schedule`, the rates themselves.

    Raises:
        ArtifactError: `crops_uri` is not a finished crops artifact.
        ConfigError: no such network, or a malformed learning rate schedule.
        TrainingError: the crops are smaller than `image_size`.
    """
    crops = storage.open_artifact(crops_uri, "align")
    registry.locate(config.model_def)
    if "image_size" in crops.config:
        inputs.require_room((crops.config["image_size"],) * 2, config.image_size)
    schedule = schedules.choose(config.learning_rate, config.learning_rate_schedule_file)
    name = config.name or crops.name
    determining = config.determining()
    del determining["learning_rate"], determining["learning_rate_schedule_file"]
    determining |= {"name": name, "learning_rate_schedule": schedule.text()}
    given = Input(crops_uri, crops.fingerprint)
    return storage.plan_stage(root, "train", name, determining, [given], STAGE_FORMAT)


def train(
    plan: Plan,
    config: TrainConfig,
    *,
    run_id: str,
    progress: Callable[[Step], None] | None = None,
) -> Trained:
    """Carry out a plan, going on from the newest checkpoint of any earlier attempt.

    Until `finish` nobody takes the result for a model. An interrupted training leaves only
    `attempts/`, and gives the same weights, bit for bit on a CPU, as one that ran through.

    Args:
        plan: of `plan_train` with this configuration.
        run_id: names this attempt's folder.
        progress: called after each step; what it raises ends training.

    Raises:
        TrainingError: the data cannot be trained on, or the loss is no longer finite.
        ArtifactError: the crops are missing or damaged.
    """
    if (made := _published(plan)) is not None:
        return made
    # These import Keras and its engine, which planning does not wait for.
    with quietly():
        from facenet_core.training import checkpoints, devices
        from facenet_core.training.history import EventLog
        from facenet_core.training.trainer import Trainer

        devices.prepare(config.gpu_memory_fraction)
    schedule = schedules.parse(plan.config["learning_rate_schedule"], "learning_rate_schedule")
    data = _open_data(plan, config)  # may copy for minutes, while a progress bar is drawn
    with quietly():
        trainer = Trainer(data, schedule, config)
    checkpoint = checkpoints.newest(plan.uri, trainer.variables)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    logs = storage.join(checkpoints.attempt_uri(plan.uri, run_id), LOGS)
    with EventLog(logs, run_id, trainer.step) as events, closing(trainer.batches()) as batches:
        for batch, labels in batches:
            trainer.advance(batch, labels)
            if trainer.ends_epoch:
                trainer.speed.pause()
                trainer.end_epoch()
            _log(events, trainer)
            if trainer.ends_epoch or trainer.step % config.checkpoint_every == 0:
                checkpoints.save(plan.uri, run_id, trainer.checkpoint())
                events.upload()
                trainer.speed.pause()
            if progress is not None:
                progress(_step(trainer))
    return _write(plan, trainer)


def finish(plan: Plan, trained: Trained, run: Mapping[str, Any]) -> Manifest:
    """Publish the model, and remove all of the attempts but the last checkpoint.

    The checkpoint has what the model has not: optimizer, centers and classifier.

    Args:
        run: times and run id, for `run.json`.
    """
    from facenet_core.training import checkpoints

    manifest = storage.publish(plan, trained.parts, trained.counts, run, trained.details)
    kept = checkpoints.uris(plan.uri)[:1]
    for uri in storage.list_files(storage.join(plan.uri, checkpoints.ATTEMPTS)):
        if uri not in kept:
            storage.remove(uri)
    return manifest


def _published(plan: Plan) -> Trained | None:
    """The model of a plan that is carried out already."""
    manifest = storage.finished(plan)
    return manifest and Trained(manifest.parts, manifest.counts, manifest.details)


def _open_data(plan: Plan, config: TrainConfig) -> Data:
    from facenet_core.training.trainer import Data

    crops_uri = plan.inputs[0].uri
    crops = inputs.open_crops(crops_uri, storage.open_artifact(crops_uri, "align"))
    try:
        chosen = selection.select(
            crops.identities,
            crops.identity_of_row,
            min_nrof_images_per_class=config.min_nrof_images_per_class,
            validation_set_split_ratio=config.validation_set_split_ratio,
            seed=config.seed,
        )
    except TrainingError as error:
        raise TrainingError(f"{crops_uri}: {error}") from None
    height, width = crops.decode(int(chosen.training[0])).shape[:2]
    inputs.require_room((height, width), config.image_size)
    return Data(crops, chosen, (height, width))


def _log(events: EventLog, trainer: Trainer) -> None:
    if trainer.ends_window:
        events.write(trainer.step, {f"train/{k}": v for k, v in trainer.latest.items()})
        if trainer.speed.rate is not None:
            events.write(trainer.step, {"images_per_second": trainer.speed.rate})
    if trainer.ends_epoch:
        row = trainer.history[-1]
        events.write(trainer.step, {"learning_rate": row["learning_rate"]})
        if row["validation_loss"] is not None:
            events.write(
                trainer.step,
                {
                    "validation/cross_entropy": row["validation_loss"],
                    "validation/accuracy": row["validation_accuracy"],
                },
            )


def _step(trainer: Trainer) -> Step:
    figures = ("loss", "cross_entropy", "center_loss", "weight_decay", "accuracy")
    return Step(
        step=trainer.step,
        steps=trainer.steps,
        epoch=trainer.epoch,
        epochs=trainer.epochs,
        learning_rate=trainer.learning_rate(trainer.epoch),
        images_per_second=trainer.speed.rate,
        **{name: trainer.latest.get(name) for name in figures},
    )


def _write(plan: Plan, trainer: Trainer) -> Trained:
    """Write the model, its history and its logs."""
    from facenet_core.training import checkpoints
    from facenet_core.training.history import HISTORY_FILE, write_history

    if (made := _published(plan)) is not None:  # by a run beside this one: it stays as it is
        return made
    network = trainer.trained_network()
    with tempfile.TemporaryDirectory(prefix="facenet-") as folder:
        local = Path(folder) / MODEL_FILE
        network.save(local)
        storage.copy_file(local, storage.join(plan.uri, MODEL_FILE))
    write_history(plan.uri, trainer.history, plan.fingerprint)
    names = []
    for uri in storage.list_files(storage.join(plan.uri, checkpoints.ATTEMPTS)):
        if posixpath.basename(posixpath.dirname(uri)) == LOGS:
            names.append(posixpath.join(LOGS, posixpath.basename(uri)))
            storage.write_bytes(storage.join(plan.uri, names[-1]), storage.read_bytes(uri))
    parts = [
        storage.describe_file(plan.uri, MODEL_FILE),
        storage.describe_file(plan.uri, HISTORY_FILE, rows=len(trainer.history)),
        *(storage.describe_file(plan.uri, name) for name in names),
    ]
    chosen, config, last = trainer.data.selection, trainer.config, trainer.history[-1]
    counts = {
        "identities": len(chosen.identities),
        "training_images": len(chosen.training),
        "validation_images": len(chosen.validation),
        "epochs": trainer.epochs,
        "steps": trainer.steps,
    }
    details = {
        "model_def": config.model_def,
        "image_size": config.image_size,
        "embedding_size": config.embedding_size,
        "use_fixed_image_standardization": config.use_fixed_image_standardization,
        "parameters": network.count_params(),
        "final": {key: last[key] for key in last if key != "images_per_second"},
        "labels": list(chosen.identities),
    }
    return Trained(tuple(parts), counts, details)
