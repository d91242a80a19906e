"""Going on from a finished model: all of its training (`resume`), or its weights alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import numpy as np

from facenet_core import storage
from facenet_core.config import TrainConfig, build
from facenet_core.errors import ArtifactError, ConfigError, TrainingError
from facenet_core.models.networks import registry
from facenet_core.storage import Artifact, Input, trained_people

if TYPE_CHECKING:
    import keras
    import pyarrow as pa

    from facenet_core.training.checkpoints import Checkpoint, Shape

logger = logging.getLogger(__name__)

_RATES = ("learning_rate", "learning_rate_schedule_file")
# The stage that makes what a field names.
_STAGES = {
    "resume": "train",
    "pretrained_model": "train",
    "filter_model": "train",
    "audit": "audit",
    "teacher": "embed",
}
# Found by where they lie, which a manifest's configuration does not say.
_PLACES = (*_STAGES, "lfw_dir", "lfw_pairs")
# What belongs to weights, as the details of a model's manifest say it.
_OF_WEIGHTS = ("model_def", "embedding_size", "image_size", "use_fixed_image_standardization")
# Below this share of layers in common, weights are those of another network.
_LEAST_IN_COMMON = 0.5


def continued(config: TrainConfig) -> TrainConfig:
    """The configuration with what a parent model decides.

    With `resume`, the fields that were not given are as they were for that model; with
    `pretrained_model`, those that belong to its weights: network, sizes and standardisation.
    Without either, `config` itself. Idempotent.

    Raises:
        ArtifactError: the parent is not finished, or does not say what belongs to its weights.
        ConfigError: what is given contradicts the parent's weights; or the model to resume was
            imported, or trained for as many epochs as are asked for or more, or went by pairs that
            are not given.
    """
    if config.pretrained_model is not None:
        return _fitted(config, config.pretrained_model)
    if config.resume is None:
        return config
    parent = storage.open_artifact(config.resume, "train")
    if "learning_rate_schedule" not in parent.config:
        raise ConfigError(
            f"resume: {config.resume} was not trained here, there is no training to go on with; "
            "use --from, which takes its weights"
        )
    _refuse_contradictions(config, parent, f"resume: {config.resume}")
    explicit = {name: getattr(config, name) for name in config.model_fields_set}
    inheritable = set(TrainConfig.model_fields) - set(_RATES) - set(_PLACES)
    values = {name: value for name, value in parent.config.items() if name in inheritable}
    uris = {i.fingerprint: i.uri for i in parent.inputs}
    for name in ("filter_model", "audit", "teacher"):
        if parent.config.get(name) is not None:
            values[name] = uris[parent.config[name]]
    result = build(TrainConfig, {**values, **explicit}, f"resume {config.resume}")
    done = parent.counts["epochs"]
    if result.max_nrof_epochs <= done:
        raise ConfigError(
            f"max_nrof_epochs: {config.resume} was trained for {done} epochs already; ask for more "
            f"than that, such as --max-nrof-epochs {done + 20}"
        )
    if result.watches and result.monitor == "lfw_accuracy" and result.lfw_dir is None:
        raise ConfigError(
            f"resume: {config.resume} was stopped or chosen by pairs of other people, which do not "
            "come with it; give lfw_dir and lfw_pairs, or keep_best: false and early_stop: null"
        )
    return result


def require_same_crop(config: TrainConfig, crops: Artifact) -> None:
    """Raises ConfigError where the crops are cut another way than those the weights know."""
    uri = config.pretrained_model or config.resume
    if uri is None:
        return
    crop = storage.open_artifact(uri, "train").details.get("crop")
    if crop is not None and crops.config.get("crop", crop) != crop:
        raise ConfigError(
            f"{uri} was trained on crops of `crop: {crop}`, these are of "
            f"`crop: {crops.config['crop']}`, which its weights do not know; align the photographs "
            f"with --crop {crop}"
        )


def _fitted(config: TrainConfig, uri: str) -> TrainConfig:
    """The configuration with what belongs to the weights of the model at `uri`."""
    parent = storage.open_artifact(uri, "train")
    if parent.details.get("imported_from", {}).get("kind") == "keras":
        raise ConfigError(
            f"pretrained_model: {uri} was imported from an exported network, whose layers are "
            "sealed; use the model that it was exported from"
        )
    missing = [name for name in _OF_WEIGHTS if name not in parent.details]
    if missing:
        raise ArtifactError(
            f"pretrained_model: the manifest of {uri} does not say {', '.join(missing)}; import or "
            "train the model again"
        )
    _refuse_contradictions(config, parent, f"pretrained_model: {uri}")
    explicit = {name: getattr(config, name) for name in config.model_fields_set}
    inherited = {name: parent.details[name] for name in _OF_WEIGHTS}
    return build(TrainConfig, {**inherited, **explicit}, f"pretrained_model {uri}")


def _refuse_contradictions(config: TrainConfig, parent: Artifact, origin: str) -> None:
    """Raises ConfigError where what is given cannot go with the parent's weights.

    Sizes may differ: a network takes images of any, and a bottleneck of another starts anew. So
    may a function of one's own, which may be a variation; `copy_weights` sees what it shares.
    """
    explicit = config.model_fields_set
    network, standardization = _OF_WEIGHTS[0], _OF_WEIGHTS[-1]
    wrong = []
    if network in explicit and config.model_def in registry.MODELS:
        wanted = str(parent.details.get(network, config.model_def))
        if registry.MODELS.get(wanted, wanted) != registry.locate(config.model_def):
            wrong.append(network)
    if standardization in explicit:
        asked = config.use_fixed_image_standardization
        if parent.details.get(standardization, asked) != asked:
            wrong.append(standardization)
    if wrong:
        theirs = ", ".join(f"{name}: {parent.details[name]}" for name in wrong)
        ours = ", ".join(f"{name}: {getattr(config, name)}" for name in wrong)
        raise ConfigError(
            f"{origin} was trained with {theirs}, which contradicts {ours}; leave it out, and it "
            "is as it was for that model"
        )


def inherited_schedule(config: TrainConfig) -> str | None:
    """The parent's learning rates, where a resuming configuration gives none of its own."""
    if config.resume is None or config.model_fields_set & set(_RATES):
        return None
    return str(storage.open_artifact(config.resume, "train").config["learning_rate_schedule"])


def inputs_of(config: TrainConfig) -> dict[str, Input]:
    """What a training is made from besides its crops, by the field that names it.

    Raises:
        ArtifactError: one is not a finished model, audit, or artifact of embeddings.
    """
    inputs = {}
    for name, stage in _STAGES.items():
        if (uri := getattr(config, name)) is not None:
            inputs[name] = Input(uri, storage.open_artifact(uri, stage).fingerprint)
    return inputs


def checkpoint_of(
    model_uri: str, shapes: Sequence[Shape], identities: pa.StringArray
) -> Checkpoint:
    """The last checkpoint of a finished model.

    Raises:
        TrainingError: it has none with arrays of these shapes, or knows other people.
    """
    from facenet_core.training import checkpoints

    manifest = storage.open_artifact(model_uri, "train")
    theirs = trained_people.read(manifest)
    if theirs is None or not theirs.equals(identities):
        raise TrainingError(
            f"resume: {model_uri} was trained on other people ({_count(manifest)}, the crops have "
            f"{len(identities):,}); for new people use --from, which takes the weights alone"
        )
    checkpoint = checkpoints.newest(model_uri, shapes)
    if checkpoint is None:
        raise TrainingError(
            f"resume: {model_uri} has no checkpoint that fits: network, embedding_size, loss, "
            "classifier_sample_rate, optimizer and averages must be as they were, or use --from"
        )
    return checkpoint


def copy_weights(network: keras.Model, model_uri: str) -> None:
    """Give the layers of `network` the weights that layers of the same name have in a model.

    Layers of other shapes, such as a bottleneck of another size, stay as they are.

    Raises:
        ArtifactError: not a finished model.
        TrainingError: fewer than half of the layers fit.
    """
    from facenet_core.models.face_model import MODEL_FILE, load_network

    storage.open_artifact(model_uri, "train")
    source = load_network(storage.join(model_uri, MODEL_FILE))
    weights = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    layers = [layer for layer in network.layers if layer.weights]
    left = []
    for layer in layers:
        values = weights.get(layer.name, [])
        if [np.shape(w) for w in values] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(values)
        else:
            left.append(layer.name)
    fitting = len(layers) - len(left)
    if fitting < _LEAST_IN_COMMON * len(layers):
        raise TrainingError(
            f"pretrained_model: {model_uri} has {fitting} of the {len(layers)} layers of "
            f"{network.name} in their shapes, so it is another network; leave out model_def to "
            "train on with that of the model"
        )
    if left:
        logger.warning("%d layers start anew: %s", len(left), ", ".join(left[:5]))


def freeze(network: keras.Model, patterns: Sequence[str]) -> None:
    """Keep layers whose names match as they are, batch norm's averages included.

    Raises:
        ConfigError: a pattern matches no layer with weights, or nothing is left to train.
    """
    layers = [layer for layer in network.layers if layer.weights]
    for pattern in patterns:
        matching = [layer for layer in layers if fnmatch(layer.name, pattern)]
        if not matching:
            names = ", ".join(layer.name for layer in layers[:4])
            raise ConfigError(f"freeze: no layer is called `{pattern}`; there are {names} …")
        for layer in matching:
            layer.trainable = False
    if patterns and not network.trainable_variables:
        raise ConfigError(f"freeze: {' '.join(patterns)} leave no layer to train")


def _count(artifact: Artifact) -> str:
    return f"{len(artifact.details['labels']):,} of them"
