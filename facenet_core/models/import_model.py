"""Models from elsewhere than the train stage: `.keras` and `.onnx` files, weights of our networks.

Every command that takes a model takes each of these. `load` makes any of them ready to embed;
`bring_in` makes an artifact of it under the storage root, where reports need its fingerprint.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from facenet_core import storage
from facenet_core.errors import ModelError
from facenet_core.extras import has_keras, installed
from facenet_core.models.face_model import MODEL_FILE, ONNX_FILE, FaceModel, load_network, name_from
from facenet_core.models.formats import files, keras_file, onnx, weights
from facenet_core.models.standardization import PIXELS
from facenet_core.runtime import quietly
from facenet_core.storage import Input, Plan

STAGE_FORMAT = 1


@dataclass(frozen=True)
class _Exported:
    """A file of `facenet export`, its network by the name that Keras gives it."""

    model: FaceModel
    name: str
    values: int
    variables: int


@dataclass(frozen=True)
class _Form:
    """What is done with a model from elsewhere, by the form that it has.

    Attributes:
        load: the model at a URI, ready to embed.
        plan: where the artifact of the model at a URI belongs under a root.
        publish: makes the artifact of a plan.
    """

    load: Callable[[str], FaceModel]
    plan: Callable[[str, str], Plan]
    publish: Callable[[Plan, str, Mapping[str, Any]], object]


def load(uri: str) -> FaceModel:
    """A model ready to embed: an artifact, a `.keras` or `.onnx` file of `facenet export`, or
    weights in a form of others.

    Raises:
        ModelError: a file is missing, damaged, or of an unknown kind.
        ArtifactError: there is an artifact, and it is damaged.
    """
    uri = artifact_of(uri)
    if storage.exists(storage.join(uri, storage.MANIFEST)):
        return FaceModel.load(uri)
    return _form_of(uri).load(uri)


def fingerprint_of(uri: str) -> str:
    """The fingerprint of the model at `uri`, which is not loaded: that of an artifact, else one
    over the files' content.

    Raises:
        ModelError, ArtifactError: as `load`.
    """
    uri = artifact_of(uri)
    manifest = storage.read_manifest(uri)
    return manifest.fingerprint if manifest else _form_of(uri).plan("", uri).fingerprint


def bring_in(root: str, uri: str, run: Mapping[str, Any]) -> str:
    """The URI of an artifact of the model at `uri`; made under `root` unless it is one already.

    Raises:
        ModelError: as `load`.
    """
    uri = artifact_of(uri)
    if storage.exists(storage.join(uri, storage.MANIFEST)):
        return uri
    form = _form_of(uri)
    plan = form.plan(root, uri)
    if storage.finished(plan) is None:
        form.publish(plan, uri, run)
    return plan.uri


def _form_of(uri: str) -> _Form:
    if files.is_onnx(uri):
        return _ONNX
    if files.extension_of(uri) == ".keras":
        if not storage.exists(uri):
            raise ModelError(f"{uri}: no such file")
        return _KERAS
    if not files.is_model(uri):
        there = "no such file or folder" if not storage.exists(uri) else "no model"
        raise ModelError(
            f"{uri}: {there}; expected the folder that `facenet train` printed, a .keras or .onnx "
            "file, a folder of a TensorFlow 1 model (model-….ckpt-N.index, or a frozen graph), one "
            f"file of weights ({', '.join(files.ONE_FILE)}), or a name of `facenet models`"
        )
    return _WEIGHTS


def artifact_of(uri: str) -> str:
    """The absolute URI; of an artifact's own network that of the artifact."""
    uri = storage.absolute(uri)
    folder, name = posixpath.split(uri)
    if name in (MODEL_FILE, ONNX_FILE) and storage.exists(storage.join(folder, storage.MANIFEST)):
        return folder
    return uri


def _publish_keras(plan: Plan, uri: str, run: Mapping[str, Any]) -> None:
    exported = _open_exported(uri)
    with storage.new_file(storage.join(plan.uri, MODEL_FILE)) as copy:
        storage.fetch_file(uri, copy, keras_file.LARGEST)
    details = {
        "model_def": exported.name,
        "image_size": exported.model.image_size,
        "embedding_size": exported.model.embedding_size,
        "use_fixed_image_standardization": False,
        "parameters": exported.values,
        "imported_from": {"kind": "keras", "files": {posixpath.basename(uri): storage.sha256(uri)}},
    }
    part = storage.describe_file(plan.uri, MODEL_FILE)
    counts = {"variables": exported.variables}
    storage.publish(plan, storage.Outcome([part], counts, details), run)


def _plan_keras(root: str, uri: str) -> Plan:
    source = Input(uri, storage.sha256(uri)[:16])
    name = name_from(posixpath.splitext(posixpath.basename(uri))[0])
    return storage.plan_stage(root, "train", name, {"keras": True}, [source], STAGE_FORMAT)


def _open_exported(uri: str) -> _Exported:
    """A `.keras` file that `facenet export` wrote: pixels in, embeddings out.

    Its weights are read and checked: by OpenVINO where that takes it, else by Keras.
    """
    plan = _plan_keras("", uri)
    model = FaceModel(plan.name, plan.fingerprint, 0, 0, PIXELS, partial(load_network, uri), uri)
    with quietly():
        if installed("openvino"):
            from facenet_core.models.runtimes import keras_graph

            try:
                graph = keras_graph.build(model)
            except keras_graph.Unsupported:
                if not has_keras():
                    raise
            else:
                model = replace(
                    model, image_size=graph.image_size, embedding_size=graph.embedding_size
                )
                return _Exported(model, graph.name, graph.values, graph.variables)
    network = model.network
    takes = [str(tensor.dtype) for tensor in network.inputs]
    keras_file.require_pixels(takes, network.input_shape, uri)
    if len(network.output_shape) != 2:
        raise ModelError(f"{uri}: gives {network.output_shape}, expected embeddings [n, d]")
    size, dimensions = network.input_shape[1], network.output_shape[1]
    model = replace(model, image_size=size, embedding_size=dimensions)
    return _Exported(model, network.name, network.count_params(), len(network.variables))


_ONNX = _Form(
    onnx.load,
    lambda root, uri: onnx.plan_import(root, uri, onnx.OnnxOptions()),
    lambda plan, uri, run: onnx.import_model(plan, uri, onnx.OnnxOptions(), run),
)
_KERAS = _Form(lambda uri: _open_exported(uri).model, _plan_keras, _publish_keras)
_WEIGHTS = _Form(
    weights.load_model,
    lambda root, uri: weights.plan_import(root, uri, weights.ImportOptions()),
    lambda plan, uri, run: weights.import_model(plan, uri, weights.ImportOptions(), run),
)
