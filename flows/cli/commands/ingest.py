"""photographs into raw shards"""

from __future__ import annotations

import argparse

from facenet_core import storage
from facenet_core.config import SYNTHETIC, IngestConfig, PipelineConfig
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.output import print_summary
from tasks.prefect import server

COMMON = (*common.STAGE, "workers", "dask_address")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "a data set's name, folder, archive, URL, bucket, table, list, `synthetic`"
    parser.add_argument("source", metavar="SOURCE", help=text)
    common.add_fields(parser, "ingest", IngestConfig, positional={"source"})


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    check_config(settings.ingest, settings.storage)


def check_config(config: IngestConfig, root: str | None) -> None:
    """Raises ConfigError or SourceError for what the stage would refuse once it has started."""
    from facenet_core.datasets.fetch.locate import locate
    from facenet_core.datasets.rows import compile_identity_pattern

    compile_identity_pattern(config.identity_pattern)
    common.check_path("catalogue", config.catalogue)
    if config.source == SYNTHETIC:
        from facenet_core.synthetic_faces.generate import check_extent

        check_extent(config.identities, config.images_per_identity, config.first_identity)
    else:
        locate(storage.absolute(root or storage.default_root()), config)


def run(options: argparse.Namespace, context: Context) -> None:
    settings = context.settings
    with server.starting():
        from flows.ingest import ingest
    summary = ingest(
        settings.ingest, settings.storage, settings.cluster, settings.storage_credentials
    )
    print_summary(summary, context.json)
