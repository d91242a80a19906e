"""Train: crop shards become a network that embeds faces.

plan = plan_train(root, crops_uri, config)
outcome = train(plan, config, run_id="…", progress=print)
manifest = finish(plan, outcome, run={})
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from facenet_core import storage
from facenet_core.config import AUTO_PAIRS, GENERATED_PAIRS, TrainConfig
from facenet_core.embedding import artifact as embedding
from facenet_core.errors import ConfigError, PairsError, TrainingError
from facenet_core.models.networks import registry
from facenet_core.runtime import keras_alone, quietly
from facenet_core.storage import Artifact, Input, Manifest, Outcome, Plan, trained_people
from facenet_core.training import resume, schedules
from facenet_core.training.input import audits
from facenet_core.training.input.crops import require_room
from facenet_core.training.input.data import how_to_read, open_data
from facenet_core.training.ranks import ALONE, Rank

if TYPE_CHECKING:
    from facenet_core.training.history import EventLog
    from facenet_core.training.trainer import Trainer

STAGE_FORMAT = 2
# Beside `model.keras`, where that holds moving averages: the weights they are averages of.
RAW_FILE = "model-raw.keras"
_MEASURED = ("validation_", "lfw_")


@dataclass(frozen=True)
class Step:
    """How far training is. Metrics are means of the last steps, None before the first are known,
    and for those that the loss does not have; `lfw_accuracy` is the last one measured."""

    step: int
    steps: int
    epoch: int
    epochs: int
    learning_rate: float
    loss: float | None
    cross_entropy: float | None
    triplet_loss: float | None
    center_loss: float | None
    weight_decay: float | None
    accuracy: float | None
    lfw_accuracy: float | None
    images_per_second: float | None


def plan_train(root: str, crops_uri: str, config: TrainConfig) -> Plan:
    """Where the model of these crops belongs.

    In the plan's configuration, `learning_rate` and `learning_rate_schedule_file` have become
    `learning_rate_schedule`, the rates themselves; other models and pairs stand as fingerprints,
    and `read_crops: auto` is resolved.

    Raises:
        ArtifactError: `crops_uri` is not a finished crops artifact, or a model is not finished.
        ConfigError: no such network, a malformed learning rate schedule, nothing to resume, or what
            is given contradicts the model whose weights are taken.
        TrainingError: the crops are smaller than `image_size`.
    """
    crops = storage.open_artifact(crops_uri, "align")
    explicit = config.model_fields_set
    config = resume.continued(config)
    config.warn_of_unused(explicit=explicit)
    rates = _checked_rates(crops, config)
    name = config.name or crops.name
    others = resume.inputs_of(config)
    determining = config.determining() | {
        "name": name,
        "learning_rate_schedule": rates,
        "read_crops": how_to_read(crops, config),
        **{field: other.fingerprint for field, other in others.items()},
    }
    del determining["learning_rate"], determining["learning_rate_schedule_file"]
    if "lfw_dir" in determining:
        determining |= _pairs_that_decide(config)
    inputs = [Input(crops_uri, crops.fingerprint), *others.values()]
    return storage.plan_stage(root, "train", name, determining, inputs, STAGE_FORMAT)


def check_train(crops_uri: str, config: TrainConfig) -> None:
    """Raises what `plan_train` would, whatever there is of a teacher's embeddings yet."""
    _checked_rates(storage.open_artifact(crops_uri, "align"), resume.continued(config))


def _checked_rates(crops: Artifact, config: TrainConfig) -> str:
    """The learning rates by epoch, of settings that go together and with the crops."""
    resume.require_same_crop(config, crops)
    audits.require_same_crops(config, crops)
    registry.locate(config.model_def)
    if "image_size" in crops.config:
        require_room((crops.config["image_size"],) * 2, config.image_size)
    rates = resume.inherited_schedule(config)
    if rates is None:
        rates = schedules.choose(config.learning_rate, config.learning_rate_schedule_file).text()
    epochs = schedules.parse(rates, "learning_rate_schedule").epochs(config.max_nrof_epochs)
    if config.warmup_epochs > epochs:
        raise ConfigError(
            f"warmup_epochs: training ends after {epochs} epochs, before a warm-up of "
            f"{config.warmup_epochs:g}; the learning rate would never be reached"
        )
    return rates


def _pairs_that_decide(config: TrainConfig) -> dict[str, str]:
    """The content of the pairs and crops that early stop or keep_best go by."""
    from facenet_core.evaluation.evaluated_pairs import pairs_content

    assert config.lfw_dir is not None
    pairs = config.lfw_pairs
    if pairs not in (AUTO_PAIRS, GENERATED_PAIRS):
        if not storage.exists(pairs):
            raise PairsError(f"lfw_pairs: {pairs}: no such pairs file")
        pairs = pairs_content(pairs)
    crops = storage.open_artifact(config.lfw_dir, "align")
    return {"lfw_dir": crops.fingerprint, "lfw_pairs": pairs}


def train(
    plan: Plan,
    config: TrainConfig,
    *,
    run_id: str,
    progress: Callable[[Step], None] | None = None,
) -> Outcome:
    """Carry out a plan, going on from the newest checkpoint of any earlier attempt.

    Until `finish` nobody takes the result for a model. An interrupted training leaves only
    `attempts/`, and gives the same weights, bit for bit on a CPU, as one that ran through.

    Args:
        plan: of `plan_train` with this configuration.
        run_id: names this attempt's folder.
        progress: called after each step; what it raises ends training.

    Raises:
        ConfigError: the batch cannot be shared between devices, or the backend cannot share it.
        TrainingError: the data cannot be trained on, or the loss is no longer finite.
        ArtifactError: the crops are missing or damaged.
    """
    outcome = train_rank(plan, config, ALONE, run_id=run_id, progress=progress)
    assert outcome is not None  # who is alone leads
    return outcome


def train_rank(
    plan: Plan,
    config: TrainConfig,
    rank: Rank,
    *,
    run_id: str,
    progress: Callable[[Step], None] | None = None,
) -> Outcome | None:
    """As `train`, in one of the processes that share a training.

    Returns:
        None for ranks that do not lead: they write nothing and call no `progress`.
    """
    # The first rank looks, for all: others may see what was published a moment later.
    if rank.leads and (published := storage.published(plan)) is not None:
        return published
    config = resume.continued(config)
    # These import Keras and its engine, which planning does not wait for.
    with quietly(), keras_alone():
        from facenet_core.training.engine import devices, distribution, threads
        from facenet_core.training.trainer import Trainer

        threads.settle(plan.uri, config.resume)
        devices.prepare(config.gpu_memory_fraction)
        distribution.join(rank)
        devices.require_precision(config.mixed_precision)
        if config.data_parallel:
            distribution.require_jax("data_parallel")
    schedule = schedules.parse(plan.config["learning_rate_schedule"], "learning_rate_schedule")
    config = config.model_copy(update={"read_crops": plan.config["read_crops"]})
    # May copy for minutes, while a progress bar is drawn.
    data = open_data(plan.inputs[0].uri, config, rank)
    with distribution.shared(config, rank):
        with quietly():
            trainer = Trainer(data, schedule, config)
        _go_on(plan, config, trainer)
        _run(plan, trainer, run_id, progress)
        # A run beside this one may have been faster: its model stays as it is.
        if rank.leads and (published := storage.published(plan)) is not None:
            return published
        return _write_model(plan, trainer)


def _run(
    plan: Plan, trainer: Trainer, run_id: str, progress: Callable[[Step], None] | None
) -> None:
    """Take the steps that are left."""
    from facenet_core.training import checkpoints
    from facenet_core.training.history import LOGS, EventLog

    config = trainer.config
    logs = storage.join(checkpoints.attempt_uri(plan.uri, run_id), LOGS)
    leads = trainer.data.rank.leads
    log = EventLog(logs, run_id, trainer.step) if leads else nullcontext()
    with log as events, closing(trainer.batches()) as batches:

        def end_epoch() -> None:
            trainer.speed.pause()
            trainer.end_epoch()
            _log_epoch(events, trainer)

        def save() -> None:
            best, checkpoint = trainer.best_step, trainer.checkpoint()
            if events is not None:
                checkpoints.save(
                    plan.uri, run_id, checkpoint, kept=config.checkpoints_kept, best=best
                )
                events.upload()
            else:
                for _ in checkpoint.arrays:  # what ranks divide takes all of them to read
                    pass
            trainer.speed.pause()

        for batch, labels in batches:
            trainer.advance(batch, labels)
            if trainer.ends_window and events is not None:
                _log(events, trainer)
            if trainer.ends_epoch:
                end_epoch()
            if trainer.ends_epoch or trainer.step % config.checkpoint_every == 0:
                save()
            if progress is not None and leads:
                progress(_step(trainer))
            if trainer.ends_epoch and trainer.stopped_early:
                break
        if not trainer.history or trainer.history[-1]["step"] != trainer.step:
            end_epoch()  # the triplets ran out
            save()


def _go_on(plan: Plan, config: TrainConfig, trainer: Trainer) -> None:
    """Bring the trainer to where an earlier attempt, or the model to resume, has come."""
    from facenet_core.training import checkpoints
    from facenet_core.training.engine import distribution

    checkpoint = checkpoints.newest(plan.uri, trainer.shapes)
    step = distribution.agreed(None if checkpoint is None else checkpoint.step)
    if step != (None if checkpoint is None else checkpoint.step):
        raise TrainingError(
            f"{plan.uri}: the ranks do not see the same checkpoints: the first one step {step}, "
            f"rank {trainer.data.rank.number} {checkpoint and checkpoint.step}; all need the same "
            "storage root"
        )
    if checkpoint is not None:
        trainer.restore(checkpoint)
    elif config.resume is not None:
        identities = trainer.data.selection.identities
        trainer.inherit(resume.checkpoint_of(config.resume, trainer.shapes, identities))
        if trainer.step >= trainer.steps:
            raise TrainingError(
                f"resume: the learning rate schedule ends after {trainer.epochs} epochs, and so "
                "many are done; give a schedule that goes on, or a learning_rate"
            )


def _write_model(plan: Plan, trainer: Trainer) -> Outcome | None:
    """Write the model, its history and its logs, copied from the attempts, if this rank leads.

    Raises:
        TrainingError: the checkpoint of the best epoch, which is to be kept, is gone.
    """
    from facenet_core.models.face_model import MODEL_FILE, save_network
    from facenet_core.training import checkpoints
    from facenet_core.training.engine import threads
    from facenet_core.training.history import HISTORY_FILE, LOGS, write_history

    best = trainer.best_step
    if trainer.config.keep_best and best is not None and best != trainer.step:
        checkpoint = checkpoints.of_step(plan.uri, best, trainer.shapes)
        if checkpoint is None:
            raise TrainingError(f"{plan.uri}: the checkpoint of the best step, {best}, is gone")
        trainer.take_back_to(checkpoint)
    weights, raw = trainer.weights()
    if not trainer.data.rank.leads:
        return None
    networks = {MODEL_FILE: weights} | ({} if raw is None else {RAW_FILE: raw})
    network = trainer.network()
    for name, values in networks.items():
        network.set_weights(values)
        save_network(network, storage.join(plan.uri, name))
    write_history(plan.uri, trainer.history, plan.fingerprint)
    names = []
    for uri in storage.list_files(storage.join(plan.uri, checkpoints.ATTEMPTS)):
        if posixpath.basename(posixpath.dirname(uri)) == LOGS:
            name = posixpath.join(LOGS, posixpath.basename(uri))
            with suppress(FileNotFoundError):  # a run beside this one ended and cleared up
                storage.write_bytes(storage.join(plan.uri, name), storage.read_bytes(uri))
                names.append(name)
    selection, config = trainer.data.selection, trainer.config
    people, labels = trained_people.write(plan.uri, plan.fingerprint, selection.identities)
    parts = [
        storage.describe_file(plan.uri, HISTORY_FILE, rows=len(trainer.history)),
        *(storage.describe_file(plan.uri, name) for name in [*networks, *names, *people]),
    ]
    mixes = trainer.data.mixes
    counts = {
        "identities": len(selection.identities),
        "training_images": len(selection.training) - (0 if mixes is None else len(mixes)),
        "validation_images": len(selection.validation),
        "epochs": trainer.history[-1]["epoch"],
        "steps": trainer.step,
    }
    if mixes is not None:
        counts["mixed_images"] = len(mixes)
    if config.audit is not None:
        counts["dropped_images"] = trainer.data.dropped
    row = trainer.own_history[-1]
    if config.keep_best and best is not None:
        row = next(row for row in trainer.own_history if row["step"] == best)
    details = {
        "model_def": config.model_def,
        "image_size": config.image_size,
        "embedding_size": config.embedding_size,
        "use_fixed_image_standardization": config.use_fixed_image_standardization,
        "parameters": network.count_params(),
        "loss": config.loss,
        "threads": threads.current(),
        "best_step": best,
        "final": {key: row[key] for key in row if key != "images_per_second"},
        **labels,
    }
    if config.teacher is not None:
        embeddings = storage.open_artifact(config.teacher, "embed")
        details["teacher"] = {
            "name": embeddings.details["model"],
            "fingerprint": embedding.model_of(embeddings).fingerprint,
        }
    crops = storage.open_artifact(plan.inputs[0].uri, "align")
    if "crop" in crops.config:
        details["crop"] = crops.config["crop"]
    return Outcome(tuple(parts), counts, details)


def finish(plan: Plan, outcome: Outcome, run: Mapping[str, Any]) -> Manifest:
    """Publish the model, and remove all of the attempts but the last and the best checkpoint.

    They have what the model has not: optimizer, centers and classifier.

    Args:
        run: times and run id, for `run.json`.
    """
    from facenet_core.training import checkpoints

    manifest = storage.publish(plan, outcome, run)
    attempt_files = storage.list_files(storage.join(plan.uri, checkpoints.ATTEMPTS))
    to_keep = checkpoints.to_keep(attempt_files, outcome.details.get("best_step"))
    for uri in attempt_files:
        if uri not in to_keep:
            storage.remove(uri)
    return manifest


def _log(events: EventLog, trainer: Trainer) -> None:
    events.write(trainer.step, {f"train/{k}": v for k, v in trainer.latest.items()})
    events.write(
        trainer.step,
        {"learning_rate": trainer.learning_rate, "images_per_second": trainer.speed.rate},
    )
    norms = trainer.gradient_norms()
    events.write(trainer.step, {"gradients/norm": float(np.linalg.norm(norms))})
    if trainer.config.log_histograms:
        variables = trainer.train_step.trainable_variables
        paths = (f"gradients/{variable.path}" for variable in variables)
        events.write(trainer.step, dict(zip(paths, map(float, norms), strict=True)))


def _log_epoch(events: EventLog | None, trainer: Trainer) -> None:
    sample = trainer.look_closer() if trainer.sample is not None else None
    if events is None:  # a rank that only computes
        return
    row = trainer.history[-1]
    measured = {k.replace("_", "/", 1): v for k, v in row.items() if k.startswith(_MEASURED)}
    events.write(trainer.step, measured)
    if sample is not None:  # none where a resumed epoch had come to its last step
        images, embeddings = sample
        events.write_images(trainer.step, "train/images", images)
        events.write_histogram(trainer.step, "train/embeddings", embeddings)
    if trainer.config.log_histograms:
        for variable in trainer.train_step.network.trainable_variables:
            events.write_histogram(trainer.step, f"weights/{variable.path}", variable.numpy())


def _step(trainer: Trainer) -> Step:
    metrics = ("loss", "cross_entropy", "triplet_loss", "center_loss", "weight_decay", "accuracy")
    measured = [r["lfw_accuracy"] for r in trainer.history if r["lfw_accuracy"] is not None]
    return Step(
        step=trainer.step,
        steps=trainer.steps,
        epoch=trainer.epoch,
        epochs=trainer.epochs,
        learning_rate=trainer.learning_rate,
        lfw_accuracy=measured[-1] if measured else None,
        images_per_second=trainer.speed.rate,
        **{name: trainer.latest.get(name) for name in metrics},
    )
