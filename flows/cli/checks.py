"""What is wrong with a configuration, told in a second: before a server starts or Keras loads.

The stages say the same again when they plan, for whoever calls them without the command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from facenet_core import config as conf
from facenet_core.errors import ConfigError

_WORDS = (conf.AUTO_PAIRS, conf.GENERATED_PAIRS)


def check_pipeline(config: conf.PipelineConfig) -> None:
    """The sections of the stages. Raises ConfigError."""
    holdout = conf.holdout_of(config)
    sections = (config.ingest, holdout.ingest, config.align, holdout.align)
    for section in (*sections, config.train, config.validation):
        if section is not None:
            check_section(section)


def check_section(config: conf.Config) -> None:
    """The section of a stage, or `cluster`. Raises ConfigError."""
    _CHECKS[type(config)](config)


def check_path(name: str, path: str | None) -> None:
    """Raises ConfigError where `path`, if given, is no URI and nothing lies there."""
    if path and "://" not in path and not os.path.lexists(os.path.expanduser(path)):
        raise ConfigError(f"{name}: {path}: no such file or folder")


def _ingest(config: conf.IngestConfig) -> None:
    from facenet_core.datasets.rows import compile_identity_pattern

    compile_identity_pattern(config.identity_pattern)
    check_path("catalogue", config.catalogue)
    if config.source == conf.SYNTHETIC:
        from facenet_core.synthetic_faces.generate import check_extent

        check_extent(config.identities, config.images_per_identity, config.first_identity)


def _align(config: conf.AlignConfig) -> None:
    engine = config.detector_engine
    if engine != "auto" and not find_spec(engine):
        raise ConfigError(f"detector_engine: {engine} is not installed; pip install {engine}")


def _train(config: conf.TrainConfig) -> None:
    from facenet_core.models.networks import registry

    registry.locate(config.model_def)
    smallest = registry.SMALLEST_IMAGE.get(config.model_def, 0)
    registry.check_image_size(config.model_def, config.image_size, smallest)
    if config.resume is None:  # else the rate may be the parent's
        from facenet_core.training import schedules

        schedules.choose(config.learning_rate, config.learning_rate_schedule_file)
    if config.lfw_pairs not in _WORDS:
        check_path("lfw_pairs", config.lfw_pairs)


def _validate(config: conf.ValidateConfig) -> None:
    if config.pairs not in _WORDS:
        check_path("pairs", config.pairs)
    check_path("groups", config.groups)


def _cluster(config: conf.ClusterConfig) -> None:
    if config.memory_limit != "auto":
        from dask.utils import parse_bytes

        try:
            parse_bytes(config.memory_limit)
        except ValueError as error:
            raise ConfigError(f"memory_limit: {error}; expected auto or such as 4GiB") from None
    if config.cluster_class is not None and not find_spec(config.cluster_class.split(".")[0]):
        raise ConfigError(
            f"cluster_class: {config.cluster_class}: its package is not installed here"
        )


_CHECKS: dict[type[conf.Config], Callable[[Any], None]] = {
    conf.IngestConfig: _ingest,
    conf.AlignConfig: _align,
    conf.TrainConfig: _train,
    conf.ValidateConfig: _validate,
    conf.ClusterConfig: _cluster,
}
