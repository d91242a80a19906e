"""find, crop and scale faces"""

from __future__ import annotations

import argparse

from facenet_core.config import AlignConfig, PipelineConfig
from facenet_core.extras import detector_runtime
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.output import print_summary
from tasks.prefect import server

COMMON = (*common.STAGE, "workers", "dask_address")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "URI of a raw artifact, or a folder or archive of photographs"
    parser.add_argument("raw", metavar="RAW", help=text)
    text = "also write the crops as a folder of images, with bounding_boxes_*.txt"
    parser.add_argument("--export", metavar="DIR", help=text)
    common.add_fields(parser, "align", AlignConfig)


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    check_config(settings.align)
    common.check_input("RAW", options.raw)


def check_config(config: AlignConfig) -> None:
    """Raises ConfigError for what the stage would refuse once it has started."""
    detector_runtime(config.detector_engine)


def run(options: argparse.Namespace, context: Context) -> None:
    settings = context.settings
    with server.starting():
        from flows.align import align
    summary = align(
        options.raw,
        settings.align,
        settings.storage,
        settings.cluster,
        options.export,
        settings.storage_credentials,
    )
    print_summary(summary, context.json)
