"""train an embedding model on crops"""

from __future__ import annotations

import argparse

from facenet_core.config import AUTO_PAIRS, GENERATED_PAIRS, PipelineConfig, TrainConfig
from facenet_core.extras import require_keras
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.output import print_summary
from tasks.prefect import server

COMMON = (*common.STAGE, "dask_address", "train_workers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("crops", metavar="CROPS", help="URI of a crops artifact")
    common.add_fields(parser, "train", TrainConfig)


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    check_config(settings.train)
    common.check_input("CROPS", options.crops)


def check_config(config: TrainConfig) -> None:
    """Raises ConfigError for what the stage would refuse once it has started."""
    from facenet_core.models.networks import registry

    require_keras("Training")
    registry.locate(config.model_def)
    smallest = registry.SMALLEST_IMAGE.get(config.model_def, 0)
    registry.check_image_size(config.model_def, config.image_size, smallest)
    if config.resume is None:  # else the rate may be the parent's
        from facenet_core.training import schedules

        schedules.choose(config.learning_rate, config.learning_rate_schedule_file)
    if config.lfw_pairs not in (AUTO_PAIRS, GENERATED_PAIRS):
        common.check_path("lfw_pairs", config.lfw_pairs)


def run(options: argparse.Namespace, context: Context) -> None:
    settings = context.settings
    with server.starting():
        from flows.train import train
    summary = train(
        options.crops,
        settings.train,
        settings.storage,
        settings.cluster,
        settings.storage_credentials,
    )
    print_summary(summary, context.json)
