"""a model for use without this project: keras, savedmodel, onnx, tflite

In every format images uint8 [n, s, s, 3] RGB go in and embeddings of unit length come out. What is
written is run and compared with the model first. Beside it lies a model card (.md and .json).
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.errors import ConfigError
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.output import echo, echo_json

if TYPE_CHECKING:
    from facenet_core.recognition.embedder import FaceEmbedder

COMMON = common.ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=embedding.MODEL)
    parser.add_argument(
        "--format",
        nargs="+",
        choices=["keras", "savedmodel", "onnx", "tflite"],
        default=["keras"],
        help="one or several [keras]",
    )
    parser.add_argument("--float16", action="store_true", help="tflite: weights of half the size")
    parser.add_argument(
        "--output", metavar="DIR", help="where to, a folder or URI; default: NAME-export"
    )


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    from facenet_core.models.formats.export import check_format

    if options.float16 and "tflite" not in options.format:
        raise ConfigError("--float16 is for --format tflite")
    for format in options.format:
        check_format(format, options.float16 and format == "tflite")
    embedding.check_model(options.model)


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.models.formats import card as cards
    from facenet_core.models.formats.export import export

    started = time.monotonic()
    face_embedder = embedding.load_embedder(context, options.model, "keras")
    embedder = face_embedder.face_model
    folder = storage.absolute(options.output or f"{embedder.name}-export")
    metadata = _metadata(face_embedder)
    exported = [
        export(embedder, format, folder, options.float16 and format == "tflite", metadata)
        for format in options.format
    ]
    values = _card(face_embedder, exported)
    texts = {"model-card.json": json.dumps(values, indent=2, ensure_ascii=False) + "\n"}
    texts["model-card.md"] = cards.markdown(values)
    for name, text in texts.items():
        storage.write_bytes(storage.join(folder, name), text.encode())
    if context.json:
        files = [{"uri": e.uri, "bytes": e.bytes, "cosine": e.cosine} for e in exported]
        seconds = round(time.monotonic() - started, 3)
        echo_json({"stage": "export", "uri": folder, "seconds": seconds, "files": files})
        return
    for file in exported:
        echo(f"{file.format}: {file.bytes:,} bytes, cosine with Keras {file.cosine:.6f}")
    echo(folder)


def _metadata(face_embedder: FaceEmbedder) -> dict[str, Any]:
    """What the model is used with: crops, and the threshold of its last validation."""
    from facenet_core.recognition.threshold import METRIC

    alignment, decision = face_embedder.alignment, face_embedder.decision
    metadata: dict[str, Any] = {
        "crop_size": alignment.image_size,  # may be larger: the model takes the middle of it
        "crop_margin": alignment.margin,
        "crop_rule": alignment.crop,
    }
    if decision.distance is not None:
        metadata |= {
            "threshold": decision.distance,
            "distance": METRIC,
            "use_flipped_images": decision.use_flipped_images,
        }
    return metadata


def _card(face_embedder: FaceEmbedder, exported: Any) -> dict[str, Any]:
    from facenet_core.datasets.fetch.catalogue import read_catalogue
    from facenet_core.models.catalogue import read_models
    from facenet_core.models.formats.card import card

    manifest = storage.read_manifest(face_embedder.artifact)
    reports = face_embedder.reports
    report = reports[0][1] if reports else None
    names = {one.uri.split("/")[-2] for m in (manifest, report) if m for one in m.inputs[:1]}
    catalogue = read_catalogue(None)
    licences = {name: catalogue[name].licence for name in names if name in catalogue}
    teacher = manifest.details.get("teacher", {}).get("name") if manifest else None
    if teacher in (models := read_models()):
        licences[teacher] = models[teacher].licence
    alignment = face_embedder.alignment
    crops = {"image_size": alignment.image_size, "rule": alignment.crop, "margin": alignment.margin}
    return card(face_embedder.face_model, manifest, report, crops, licences, exported)
