"""ONNX embedding networks as models: InsightFace's, those of `facenet export`, any other.

    options = OnnxOptions(preset="arcface")
    plan = plan_import(root, "w600k_r50.onnx", options)
    manifest = import_model(plan, "w600k_r50.onnx", options, run={})

Layout, size and batch are read from the graph; how pixels are standardised is not in it, and named
by a preset or in numbers. Files of `facenet export` take pixels and say in their metadata what else
their user has to know, so that they need no options.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from facenet_core import storage
from facenet_core.config import AlignConfig
from facenet_core.config.base import build
from facenet_core.errors import ConfigError, ModelError
from facenet_core.models.face_model import ONNX_FILE, FaceModel, name_from
from facenet_core.models.formats import onnx_file
from facenet_core.models.formats.onnx_file import OnnxGraph
from facenet_core.models.formats.variables import LARGEST_EMBEDDING
from facenet_core.models.runtimes import open_runtime
from facenet_core.models.standardization import FIXED, PER_IMAGE, PIXELS, Channels, Standardization
from facenet_core.storage import Input, Manifest, Plan

STAGE_FORMAT = 1
# Of `AlignConfig`, by the names that they have in the metadata of exported files.
_EXPORTED_FIELDS = {"crop_size": "image_size", "crop_margin": "margin", "crop_rule": "crop"}
_PROBES = 3  # images that an imported network is tried on


@dataclass(frozen=True)
class Preset:
    """How a family of models takes its images.

    Attributes:
        alignment: fields of `AlignConfig`.
    """

    standardization: Standardization
    alignment: Mapping[str, Any]


PRESETS = {
    # InsightFace's recognition models, https://github.com/deepinsight/insightface
    "arcface": Preset(Standardization((127.5,) * 3, (127.5,) * 3), {"crop": "similarity"}),
    # davidsandberg/facenet since 2018, facenet-pytorch
    "facenet": Preset(FIXED, {"crop": "original"}),
    # davidsandberg/facenet before, and Keras models made of these
    "facenet-2017": Preset(PER_IMAGE, {"crop": "original"}),
}


@dataclass(frozen=True)
class OnnxOptions:
    """What the file does not say.

    Attributes:
        preset: a key of `PRESETS`; the others below take precedence over it.
        mean, deviation: of each channel, of pixels from 0 to 255: (x − mean)/deviation.
        color: the order of the channels.
        image_size: of a graph that takes images of any size.
        crop, margin: see `AlignConfig`.
    """

    preset: str | None = None
    mean: Channels | None = None
    deviation: Channels | None = None
    color: Literal["RGB", "BGR"] | None = None
    image_size: int | None = None
    crop: Literal["original", "similarity"] | None = None
    margin: int | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for values that go with no network."""
        if self.preset is not None and self.preset not in PRESETS:
            raise ConfigError(f"preset: {self.preset!r}; expected one of {', '.join(PRESETS)}")
        if (self.mean is None) != (self.deviation is None):
            raise ConfigError("mean and deviation: give both or none")
        numbers = (*(self.mean or ()), *(self.deviation or ()))
        if not all(map(math.isfinite, numbers)) or 0 in (self.deviation or ()):
            raise ConfigError("mean and deviation: expected numbers, and none of 0 to divide by")


def plan_import(root: str, uri: str, options: OnnxOptions, name: str | None = None) -> Plan:
    """Where the imported model belongs.

    Raises:
        ConfigError, ModelError: as `onnx_file.fetched`.
    """
    with onnx_file.fetched(uri) as (local, _):
        return _plan(root, uri, local, options, name)


def _plan(root: str, uri: str, local: Path, options: OnnxOptions, name: str | None = None) -> Plan:
    digest = storage.sha256(str(local))[:16]  # with external data
    config = {"onnx": {key: value for key, value in asdict(options).items() if value is not None}}
    name = name or name_from(posixpath.splitext(posixpath.basename(uri))[0])
    return storage.plan_stage(root, "train", name, config, [Input(uri, digest)], STAGE_FORMAT)


def import_model(plan: Plan, uri: str, options: OnnxOptions, run: Mapping[str, Any]) -> Manifest:
    """Try the network on a few images, write it and publish it.

    Raises:
        ConfigError: what reads or runs ONNX is not installed, or an option does not go with it.
        ModelError: it is not a network from one image to one embedding, or nothing says how pixels
            are standardised for it.
    """
    with onnx_file.fetched(uri) as (local, graph):
        model = _model(uri, graph, options, plan, str(local))
        dimensions = _probe(uri, model)
        storage.copy_file(local, storage.join(plan.uri, ONNX_FILE))
    details = {
        "model_def": "onnx",
        "image_size": model.image_size,
        "embedding_size": dimensions,
        "standardization": asdict(model.standardization),
        "alignment": _alignment(graph, options, model.image_size),
        "parameters": graph.parameters,
        "imported_from": {"kind": "onnx", "files": {posixpath.basename(uri): storage.sha256(uri)}},
    }
    part = storage.describe_file(plan.uri, ONNX_FILE)
    return storage.publish(plan, storage.Outcome([part], {}, details), run)


def load(uri: str) -> FaceModel:
    """The model in a file of `facenet export`, which says itself how it is used.

    Raises:
        ConfigError, ModelError: as `import_model`.
    """
    options = OnnxOptions()
    with onnx_file.fetched(uri) as (local, graph):
        model = _model(uri, graph, options, _plan("", uri, local, options), uri)
    return model if model.embedding_size else replace(model, embedding_size=_probe(uri, model))


def _model(uri: str, graph: OnnxGraph, options: OnnxOptions, plan: Plan, file: str) -> FaceModel:
    size = graph.image_size or options.image_size
    if size is None:
        raise ModelError(f"{uri}: takes images of any size; say which: --image-size")
    if options.image_size not in (None, size):
        raise ConfigError(f"image_size: {uri} takes images of {size} pixels")
    standardization = _standardization(uri, graph, options)
    dimensions = graph.embedding_size or 0  # then measured by `_probe`
    return FaceModel.from_onnx(file, plan.name, plan.fingerprint, size, dimensions, standardization)


def _standardization(uri: str, graph: OnnxGraph, options: OnnxOptions) -> Standardization:
    preset = PRESETS.get(options.preset or "")
    standardization = preset.standardization if preset is not None else None
    if options.mean is not None and options.deviation is not None:
        standardization = Standardization(options.mean, options.deviation)
    if graph.dtype == "uint8":
        if standardization not in (None, PIXELS):
            raise ConfigError(f"{uri}: takes pixels uint8 and standardises them itself")
        standardization = PIXELS
    if standardization is None:
        raise ModelError(
            f"{uri}: takes float32, and nothing says how pixels are standardised for it: import it "
            f"with --preset {'|'.join(PRESETS)}, or with --mean and --deviation"
        )
    color = options.color or graph.metadata.get("color")
    return replace(standardization, color="BGR") if color == "BGR" else standardization


def _alignment(graph: OnnxGraph, options: OnnxOptions, image_size: int) -> dict[str, Any]:
    """Fields of `AlignConfig` that make its crops."""
    preset = PRESETS.get(options.preset or "")
    stated = {"crop": options.crop, "margin": options.margin}
    fields = {
        "image_size": image_size,
        **{
            field: graph.metadata[name]
            for name, field in _EXPORTED_FIELDS.items()
            if name in graph.metadata
        },
        **(preset.alignment if preset is not None else {}),
        **{name: value for name, value in stated.items() if value is not None},
    }
    config = build(AlignConfig, fields, "alignment").model_dump(mode="json")
    return {name: config[name] for name in fields}


def _probe(uri: str, model: FaceModel) -> int:
    """Dimensions of the embeddings of a few images, which must be numbers."""
    runtime = open_runtime(model, precision="float32")
    size = model.image_size
    images = np.random.default_rng(0).integers(0, 256, (_PROBES, size, size, 3), np.uint8)
    embeddings = runtime(images)
    dimensions = embeddings.shape[1]
    if model.embedding_size not in (0, dimensions) or dimensions > LARGEST_EMBEDDING:
        raise ModelError(
            f"{uri}: gives embeddings of {dimensions:,} dimensions, which it does not say"
        )
    if not np.isfinite(embeddings).all() or not embeddings.any():
        raise ModelError(
            f"{uri}: gives numbers that are not finite for random images; it is damaged"
        )
    return dimensions
