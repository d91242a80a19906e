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
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.output import echo, echo_json

COMMON = common.ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    embedding.add_sources(parser)
    embedding.add_model(parser)
    embedding.add_every_face(parser)
    parser.add_argument(
        "--output",
        type=common.ending_in(".parquet"),
        default="embeddings.parquet",
        metavar="FILE",
        help="where to, a path or URI [embeddings.parquet]",
    )


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    embedding.check_model(options.model, options.engine)


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.recognition import tables

    started = time.monotonic()
    uri = storage.absolute(options.output)
    embedder = embedding.load_embedder(context, options.model, options.engine)
    every_face = options.detect_multiple_faces
    faces = embedding.embed_sources(
        options.sources, embedder, context.root, options.aligned, every_face
    )
    with embedding.embedding_progress() as report:
        counts = tables.write(uri, faces, embedder.face_model.fingerprint, report)
    seconds = time.monotonic() - started
    if context.json:
        seconds = round(seconds, 3)
        echo_json({"stage": "embed", "uri": uri, "seconds": seconds, "counts": counts})
        return
    echo(
        f"{plural(counts['faces'], 'face')} in {plural(counts['aligned'], 'photograph')}; "
        f"{plural(counts['rejects'], 'photograph')} gave none; {seconds:.1f} s"
    )
    if counts["rejects"]:
        echo(f"Why: {tables.rejects_of(uri)}")
    echo(uri)
