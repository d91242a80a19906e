"""a model for use without this project: keras, savedmodel, onnx, tflite

In every format images uint8 [n, s, s, 3] RGB go in and embeddings of unit length come out. What is
written is run and compared with the model first. Beside it lies a model card (.md and .json).
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.errors import ConfigError
from flows.cli import options as recognition
from flows.cli.terminal import echo, echo_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="URI of a model artifact, newest:NAME, promoted:NAME, a .keras file, or a TensorFlow "
        "1 model (folder or .pb)",
    )
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

    parser.set_defaults(check=_check, engine="keras")


def _check(options: argparse.Namespace) -> None:
    from facenet_core.models.formats.export import check_format

    if options.float16 and "tflite" not in options.format:
        raise ConfigError("--float16 is for --format tflite")
    for format in options.format:
        check_format(format, options.float16 and format == "tflite")
    recognition.check(options)


def run(options: argparse.Namespace, settings: PipelineConfig) -> None:
    from facenet_core.models.formats import card as cards
    from facenet_core.models.formats.export import export

    started = time.monotonic()
    face_embedder = recognition.load(options, settings)
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
    if options.json:
        files = [{"uri": e.uri, "bytes": e.bytes, "cosine": e.cosine} for e in exported]
        seconds = round(time.monotonic() - started, 3)
        echo_json({"stage": "export", "uri": folder, "seconds": seconds, "files": files})
        return
    for file in exported:
        echo(f"{file.format}: {file.bytes:,} bytes, cosine with Keras {file.cosine:.6f}")
    echo(folder)


def _metadata(face_embedder: Any) -> dict[str, Any]:
    """What the model is used with: crops, and the threshold of its last validation."""
    alignment, decision = face_embedder.alignment, face_embedder.decision
    metadata = {
        "crop_size": alignment.image_size,  # may be larger: the model takes the middle of it
        "crop_margin": alignment.margin,
        "crop_rule": alignment.crop,
    }
    if decision.distance is not None:
        metadata |= {
            "threshold": decision.distance,
            "distance": {"euclidean": "squared Euclidean", "cosine": "angle/π"}[decision.metric],
            "use_flipped_images": decision.use_flipped_images,
        }
    return metadata


def _card(face_embedder: Any, exported: Any) -> dict[str, Any]:
    from facenet_core.datasets.fetch.catalogue import read_catalogue
    from facenet_core.models.formats.card import card

    manifest = storage.read_manifest(face_embedder.artifact)
    reports = face_embedder.reports
    report = reports[0][1] if reports else None
    names = {given.uri.split("/")[-2] for m in (manifest, report) if m for given in m.inputs[:1]}
    catalogue = read_catalogue(None)
    licences = {name: catalogue[name].licence for name in names if name in catalogue}
    alignment = face_embedder.alignment
    crops = {"image_size": alignment.image_size, "rule": alignment.crop, "margin": alignment.margin}
    return card(face_embedder.face_model, manifest, report, crops, licences, exported)
