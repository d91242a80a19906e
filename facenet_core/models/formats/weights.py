"""Import the weights of networks that are ours, too, in any of the forms that people have them.

    options = ImportOptions()
    plan = plan_import(root, "20180402-114759", options)
    manifest = import_model(plan, "20180402-114759", options, run={})

The result is a model like those of the train stage. Every variable of the network is accounted for:
one that is missing, has another shape, or has no place in the network is an error that names it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from facenet_core import storage
from facenet_core.errors import ModelError
from facenet_core.models.face_model import MODEL_FILE, FaceModel, name_from, save_network
from facenet_core.models.formats import files as model_files
from facenet_core.models.formats import keras_h5, state_dict, tf1, torch_file
from facenet_core.models.formats.files import ModelFiles
from facenet_core.models.formats.variables import (
    KINDS,
    LARGEST_EMBEDDING,
    Variables,
    listed,
)
from facenet_core.models.networks import registry
from facenet_core.models.standardization import of_flag
from facenet_core.runtime import quietly
from facenet_core.storage import Input, Manifest, Plan

if TYPE_CHECKING:
    import keras

STAGE_FORMAT = 1
_TF1 = ("checkpoint", "frozen", "archive")
CLASSIFIER_FILE = "classifier.npz"
# The outermost variable scope of each network's graph, which is also its name here.
SCOPES = {
    "InceptionResnetV1": "inception_resnet_v1",
    "InceptionResnetV2": "inception_resnet_v2",
    "squeezenet": "squeezenet",
}
_AVERAGE = "/ExponentialMovingAverage"
_CLASSIFIER = {"weights": "Logits/weights", "biases": "Logits/biases"}
# Variables of training: optimizers' slots, the classifier, center loss, counters, mean losses.
_OF_TRAINING = re.compile(
    r"(^|/)(Logits/.*|centers|global_step|beta[12]_power|Variable(_\d+)?|learning_rate)$"
    r"|/(Adam|RMSProp|Adadelta)(_1)?$|/(Adagrad|Momentum)$|/avg$|/(local_step|biased)$"
)
# Older models were trained on images standardised one by one.
_FIRST_FIXED_YEAR = 2018


@dataclass(frozen=True)
class ImportOptions:
    """How to import a model.

    Attributes:
        image_size: side of the network's input, pixels; the files do not say.
        use_fixed_image_standardization: see `preprocessing.standardize`; None: by the date in the
            model's name, per image where it has none.
        moving_average: take the moving averages of the weights where the checkpoint has them, as
            the original did for validation.
        keep_classifier: also keep the weights of the softmax classifier over the training's people.
        alignment: how crops for the model are made, fields of `AlignConfig`; empty: not known.
        catalogue: the model's name in the catalogue.
    """

    image_size: int = 160
    use_fixed_image_standardization: bool | None = None
    moving_average: bool = True
    keep_classifier: bool = False
    alignment: Mapping[str, Any] = field(default_factory=dict)
    catalogue: str | None = None


@dataclass(frozen=True)
class _Graph:
    """A network that was recognised by its variables."""

    scope: str
    embedding_size: int

    @property
    def model_def(self) -> str:
        return SCOPES[self.scope]


def plan_import(root: str, uri: str, options: ImportOptions, name: str | None = None) -> Plan:
    """Where the imported model belongs.

    Raises:
        ModelError: there is no such model, or files are missing.
    """
    files = model_files.find(uri)
    config = {
        ("tf1" if files.kind in _TF1 else "weights"): files.kind,
        "image_size": options.image_size,
        "use_fixed_image_standardization": expects_fixed(files, options),
        "moving_average": options.moving_average,
        "keep_classifier": options.keep_classifier,
        **({"alignment": dict(options.alignment)} if options.alignment else {}),
    }
    source = Input(files.stem, files.digest())
    name = name or model_name(files.stem)
    return storage.plan_stage(root, "train", name, config, [source], STAGE_FORMAT)


def import_model(plan: Plan, uri: str, options: ImportOptions, run: Mapping[str, Any]) -> Manifest:
    """Write the model and publish it.

    Raises:
        ModelError: see `read_network`, or no classifier to keep.
    """
    files = model_files.find(uri)
    with open_variables(files) as variables:
        graph = recognise(variables)
        network = _build(graph, variables, options)
        classifier = _classifier(variables) if options.keep_classifier else None
    save_network(network, storage.join(plan.uri, MODEL_FILE))
    parts = [storage.describe_file(plan.uri, MODEL_FILE)]
    if classifier is not None:
        classifier_uri = storage.join(plan.uri, CLASSIFIER_FILE)
        with storage.new_file(classifier_uri) as path, path.open("wb") as file:
            np.savez(file, **classifier)
        parts.append(storage.describe_file(plan.uri, CLASSIFIER_FILE))
    details = {
        "model_def": graph.model_def,
        "image_size": options.image_size,
        "embedding_size": graph.embedding_size,
        "use_fixed_image_standardization": plan.config["use_fixed_image_standardization"],
        "parameters": network.count_params(),
        "imported_from": {
            "kind": files.kind,
            "files": {posixpath.basename(uri): storage.sha256(uri) for uri in files.uris},
            "moving_average": options.moving_average and _has_averages(variables),
        },
        **({"alignment": dict(options.alignment)} if options.alignment else {}),
        **({"catalogue": options.catalogue} if options.catalogue else {}),
    }
    return storage.publish(
        plan, storage.Outcome(parts, {"variables": len(network.variables)}, details), run
    )


def load_model(uri: str, options: ImportOptions | None = None) -> FaceModel:
    """A model from elsewhere ready to embed, imported in memory.

    Raises:
        ModelError: as `import_model`.
    """
    options = options or ImportOptions()
    files = model_files.find(uri)
    with open_variables(files) as variables:
        graph = recognise(variables)
        network = _build(graph, variables, options)
    return FaceModel.from_network(
        network,
        of_flag(expects_fixed(files, options)),
        model_name(files.stem),
        plan_import("", uri, options).fingerprint,
    )


@contextmanager
def open_variables(files: ModelFiles) -> Iterator[Variables]:
    """The variables in the files by the names of the original's graph, for the time of the block.

    Raises:
        ModelError: the files are damaged or of another kind.
    """
    with ExitStack() as stack:
        local = stack.enter_context(files.local())
        stack.enter_context(quietly())
        if local.kind == "checkpoint":
            yield tf1.open_checkpoint(files.stem, local.path)
        elif local.kind == "frozen":
            yield tf1.open_frozen(files.stem, local.path)
        elif local.kind == "h5":
            yield stack.enter_context(keras_h5.open_h5(files.stem, local.path))
        else:
            opened = torch_file.open_torch if local.kind == "torch" else state_dict.open_safetensors
            yield state_dict.translate(stack.enter_context(opened(files.stem, local.path)))


def recognise(variables: Variables) -> _Graph:
    """The network that these are the variables of.

    Raises:
        ModelError: none that is known, or one without a bottleneck.
    """
    scopes = {name.partition("/")[0] for name in variables.shapes if "/" in name}
    networks = [scope for scope in SCOPES if scope in scopes]
    if len(networks) != 1:
        raise ModelError(
            f"{variables.source}: not one network that is known ({', '.join(SCOPES)}); its "
            f"variables are in the scopes {listed(sorted(scopes)) or 'none'}"
        )
    bottleneck = f"{networks[0]}/Bottleneck/weights"
    shape = variables.shapes.get(bottleneck)
    if shape is None or len(shape) != 2 or not 0 < shape[1] <= LARGEST_EMBEDDING:
        raise ModelError(
            f"{variables.source}: {bottleneck} is missing or of no size that an embedding has "
            f"({'missing' if shape is None else list(shape)})"
        )
    return _Graph(networks[0], shape[1])


def variable_name(network: keras.Model, variable: Any) -> str:
    """A network's variable by the name that the original's graph gives it."""
    layer, kind = variable.path.split("/")[-2:]
    return f"{network.name}/{layer.replace('.', '/')}/{KINDS.get(kind, kind)}"


def expects_fixed(files: ModelFiles, options: ImportOptions) -> bool:
    """Whether the model takes pixels standardised by fixed numbers.

    The models of 2017 (20170511-185253, 20170512-110547) take images standardised one by one,
    those of 2018 (20180402-114759, 20180408-102900) fixed numbers. facenet-pytorch has fixed
    numbers for all, and deepface's Facenet512 is one of 2018.
    """
    if options.use_fixed_image_standardization is not None:
        return options.use_fixed_image_standardization
    if dated := re.findall(r"(20\d\d)\d{4}-\d{6}", files.stem):
        return int(dated[-1]) >= _FIRST_FIXED_YEAR
    return files.kind in ("torch", "safetensors") or "facenet512" in posixpath.basename(files.stem)


def model_name(stem: str) -> str:
    """A name for the model: the date and time that the original names it by, or the file's."""
    dated = re.findall(r"20\d{6}-\d{6}", stem)
    if dated:
        return dated[-1]
    name, extension = posixpath.splitext(posixpath.basename(stem))
    if extension.lower() not in model_files.ONE_FILE:
        name = re.sub(r"\.ckpt.*$", "", name + extension)
    return name_from(name)


def _build(graph: _Graph, variables: Variables, options: ImportOptions) -> keras.Model:
    """The network with the weights of the graph; every variable of its scope has a place in it."""
    with quietly():
        network = registry.build(
            graph.model_def,
            image_size=options.image_size,
            embedding_size=graph.embedding_size,
        )
    variable_of = {variable_name(network, variable): variable for variable in network.variables}
    _account(set(variable_of), variables)
    for name, variable in variable_of.items():
        if variables.shapes[name] != tuple(variable.shape):
            raise ModelError(
                f"{variables.source}: {name} has the shape {list(variables.shapes[name])}, "
                f"expected {list(variable.shape)}"
            )
    for name, variable in variable_of.items():
        averaged = options.moving_average and name + _AVERAGE in variables.shapes
        variable.assign(variables.read(name + _AVERAGE if averaged else name))
    return network


def _account(expected: set[str], variables: Variables) -> None:
    missing = sorted(expected - variables.shapes.keys())
    if missing:
        raise ModelError(
            f"{variables.source}: {len(missing)} of {len(expected)} variables of the network are "
            f"missing: {listed(missing)}"
        )
    left_over = sorted(
        name
        for name in variables.shapes
        if name not in expected
        and name.removesuffix(_AVERAGE) not in expected
        and not _OF_TRAINING.search(name.removesuffix(_AVERAGE))
    )
    if left_over:
        raise ModelError(
            f"{variables.source}: {len(left_over)} variables have no place in the network: "
            f"{listed(left_over)}; it was changed, or is another one"
        )


def _has_averages(variables: Variables) -> bool:
    return any(name.endswith(_AVERAGE) for name in variables.shapes)


def _classifier(variables: Variables) -> dict[str, Any]:
    missing = [name for name in _CLASSIFIER.values() if name not in variables.shapes]
    if missing:
        raise ModelError(
            f"{variables.source}: no classifier to keep, {listed(missing)} is missing; a frozen "
            "graph seldom has one"
        )
    return {key: variables.read(name) for key, name in _CLASSIFIER.items()}
