"""embeddings of all faces in a data set, as an artifact and as Parquet

SOURCE is a crops artifact, or photographs, of which crops are made first as the model's are: a
folder, an archive, the name of a data set. Its crops are embedded on Dask workers into an artifact
of embeddings, which validate, classify and cluster take. --output also writes one table: a row for
each face with image_id, identity, face_index, box, score and embedding (list of float32);
photographs without a face are listed in …-rejects.parquet beside it.

Single photographs, several sources and --aligned folders of crops become the table alone.
"""

from __future__ import annotations

import argparse
import time

from facenet_core import storage
from facenet_core.config import EmbedConfig, PipelineConfig
from facenet_core.errors import ConfigError
from facenet_core.imaging import formats
from facenet_core.text.plural import plural
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context, alignment_of
from flows.cli.output import echo, echo_json, print_summary
from tasks.prefect import server

COMMON = (*common.STAGE, "workers", "dask_address")
_TABLE = "embeddings.parquet"
_OF_DATA_SETS = ("precision", "progress_timeout", "image_size", "margin")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    embedding.add_sources(parser)
    embedding.add_model(parser, engine=False)
    embedding.add_every_face(parser)
    parser.add_argument(
        "--output",
        type=common.ending_in(".parquet"),
        metavar="FILE",
        help=f"also one table, a path or URI; without an artifact [{_TABLE}]",
    )
    common.add_fields(parser, "embed", EmbedConfig)
    common.add_alignment(parser)


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    embedding.check_model(options.model, settings.embed.engine, settings.embed.precision)
    unused = [name for name in _OF_DATA_SETS if hasattr(options, name)]
    unused += ["use_flipped_images"] if settings.embed.use_flipped_images else []
    if unused and not _is_data_set(options):
        option = unused[0].replace("_", "-")
        raise ConfigError(f"--{option}: goes with one data set, which becomes an artifact")


def run(options: argparse.Namespace, context: Context) -> None:
    (_run_stage if _is_data_set(options) else _write_table)(options, context)


def _is_data_set(options: argparse.Namespace) -> bool:
    """Whether the sources become an artifact."""
    several = len(options.sources) > 1 or options.aligned
    return not several and formats.of_name(options.sources[0]) is None


def _run_stage(options: argparse.Namespace, context: Context) -> None:
    with server.starting():
        from flows.embed import embed
    settings = context.settings
    summary = embed(
        options.sources[0],
        options.model,
        settings.embed,
        settings.storage,
        settings.cluster,
        settings.storage_credentials,
        alignment_of(options, settings),
    )
    if options.output is None:
        print_summary(summary, context.json)
        return
    from facenet_core.embedding.artifact import model_of
    from facenet_core.recognition import tables

    table = storage.absolute(options.output)
    artifact = storage.open_artifact(summary.uri, "embed")
    with embedding.embedding_progress("write") as report:
        counts = tables.write_rows(
            table, tables.rows_of(artifact), model_of(artifact).fingerprint, report
        )
    if context.json:
        fields = {"stage", "uri", "fingerprint", "seconds"}
        echo_json({**summary.model_dump(include=fields), "table": table, "counts": counts})
        return
    _print_counts(counts, table, summary.seconds)
    echo(summary.uri)


def _write_table(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.recognition import tables

    started = time.monotonic()
    table = storage.absolute(options.output or _TABLE)
    embedder = embedding.load_embedder(context, options.model, context.settings.embed.engine)

    every_face = options.detect_multiple_faces
    faces = embedding.embed_sources(
        options.sources, embedder, context.root, options.aligned, every_face
    )
    with embedding.embedding_progress() as report:
        counts = tables.write(table, faces, embedder.face_model.fingerprint, report)
    seconds = time.monotonic() - started
    if context.json:
        seconds = round(seconds, 3)
        echo_json({"stage": "embed", "uri": table, "seconds": seconds, "counts": counts})
        return
    _print_counts(counts, table, seconds)


def _print_counts(counts: dict[str, int], table: str, seconds: float) -> None:
    from facenet_core.recognition import tables

    echo(
        f"{plural(counts['faces'], 'face')} in {plural(counts['aligned'], 'photograph')}; "
        f"{plural(counts['rejects'], 'photograph')} gave none; {seconds:.1f} s"
    )
    if counts["rejects"]:
        echo(f"Why: {tables.rejects_of(table)}")
    echo(table)
