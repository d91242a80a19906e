"""measure a model on pairs of faces"""

from __future__ import annotations

import argparse
from typing import Any

from facenet_core.config import AUTO_PAIRS, GENERATED_PAIRS, PipelineConfig, ValidateConfig
from facenet_core.errors import ConfigError
from facenet_core.models.runtimes import check_engine
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context, alignment_of
from flows.cli.output import print_summary
from tasks.prefect import server

COMMON = (*common.STAGE, "workers", "dask_address")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = (
        "URI of a crops artifact, or of embeddings, or an InsightFace verification set (.bin); or "
        "photographs: the name of a data set (lfw), a folder, archive, address or raw artifact"
    )
    parser.add_argument("crops", metavar="CROPS", help=text)
    text = f"{embedding.MODEL}; two are compared; of embeddings none"
    parser.add_argument("model", metavar="MODEL", nargs="*", help=text)
    common.add_fields(parser, "validation", ValidateConfig)
    common.add_alignment(parser)


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    check_config(settings.validation)
    if len(options.model) > 2:
        raise ConfigError(f"{len(options.model)} models; one is measured, two are compared")
    common.check_input("CROPS", options.crops)
    for model in options.model:
        embedding.check_model_name("MODEL", model)


def check_config(config: ValidateConfig) -> None:
    """Raises ConfigError for what the stage would refuse once it has started."""
    if config.pairs not in (AUTO_PAIRS, GENERATED_PAIRS):
        common.check_path("pairs", config.pairs)
    common.check_path("groups", config.groups)
    check_engine(config.engine, config.precision)


def run(options: argparse.Namespace, context: Context) -> None:
    settings = context.settings
    with server.starting():
        from flows.validate import compare, validate
    settings_of_flow: dict[str, Any] = {
        "config": settings.validation,
        "root": settings.storage,
        "storage_credentials": settings.storage_credentials,
        "align": alignment_of(options, settings),
        "where": settings.cluster,
    }
    if len(options.model) == 2:
        summary = compare(options.crops, *options.model, **settings_of_flow)
    else:
        summary = validate(options.crops, *options.model, **settings_of_flow)
    print_summary(summary, context.json)
