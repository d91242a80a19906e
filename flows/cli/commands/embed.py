"""embeddings of all faces in photographs, as Parquet

One row for each face: image_id, identity, face_index, box, score, embedding (list of float32).
Photographs without a face are listed in …-rejects.parquet beside it.
"""

from __future__ import annotations

import argparse
import time

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.text.plural import plural
from flows.cli import options as recognition
from flows.cli.terminal import echo, echo_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    recognition.add_sources(parser)
    recognition.add_model(parser)
    recognition.add_every_face(parser)
    parser.add_argument(
        "--output",
        type=recognition.ending_in(".parquet"),
        default="embeddings.parquet",
        metavar="FILE",
        help="where to, a path or URI [embeddings.parquet]",
    )
    parser.set_defaults(check=recognition.check)


def run(options: argparse.Namespace, settings: PipelineConfig) -> None:
    from facenet_core.recognition import tables

    started = time.monotonic()
    place = storage.absolute(options.output)
    embedder = recognition.load(options, settings)
    faces = recognition.embed_sources(options, settings, embedder, options.detect_multiple_faces)
    with recognition.bar("embed") as report:
        counts = tables.write(place, faces, embedder.face_model.fingerprint, report)
    seconds = time.monotonic() - started
    if options.json:
        shown = {"stage": "embed", "uri": place, "seconds": round(seconds, 3), "counts": counts}
        echo_json(shown)
        return
    echo(
        f"{plural(counts['faces'], 'face')} in {plural(counts['aligned'], 'photograph')}; "
        f"{plural(counts['rejects'], 'photograph')} gave none; {seconds:.1f} s"
    )
    if counts["rejects"]:
        echo(f"Why: {tables.rejects_of(place)}")
    echo(place)
