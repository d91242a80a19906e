"""what is wrong with a data set: wrong labels, duplicates, leaks

Writes findings.parquet, keep.parquet and report.html. `facenet train --audit URI --drop …` leaves
out what was found.
"""

from __future__ import annotations

import argparse

from facenet_core import storage
from facenet_core.config import AuditConfig, PipelineConfig
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.output import echo, print_summary
from tasks.prefect import server

COMMON = (*common.STAGE, "workers", "dask_address")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "URI of a crops artifact, which is embedded first, or of an embeddings artifact"
    parser.add_argument("source", metavar="CROPS|EMBEDDINGS", help=text)
    common.add_fields(parser, "audit", AuditConfig)


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    embedding.check_model(settings.audit.model)


def run(options: argparse.Namespace, context: Context) -> None:
    settings = context.settings
    with server.starting():
        from flows.audit import audit
    summary = audit(
        options.source,
        settings.audit,
        settings.storage,
        settings.cluster,
        settings.embed,
        settings.storage_credentials,
    )
    if not context.json:
        echo(f"Report: {storage.join(summary.uri, 'report.html')}")
    print_summary(summary, context.json)
