"""the whole pipeline"""

from __future__ import annotations

import argparse

from facenet_core.config import PipelineConfig, holdout_of
from flows.cli import options as common
from flows.cli.commands import align, ingest, train, validate
from flows.cli.context import Context
from flows.cli.output import print_summary
from tasks.prefect import server

COMMON = (*common.STAGE, "workers", "dask_address")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass  # --config and --set say all


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    holdout = holdout_of(settings)
    ingest.check_config(settings.ingest, settings.storage)
    ingest.check_config(holdout.ingest, settings.storage)
    align.check_config(settings.align)
    if holdout.align is not None:
        align.check_config(holdout.align)
    train.check_config(settings.train)
    validate.check_config(settings.validation)


def run(options: argparse.Namespace, context: Context) -> None:
    with server.starting():
        from flows.pipeline import pipeline
    print_summary(pipeline(context.settings), context.json)
