"""Configuration: one pydantic model a stage, and `PipelineConfig` that holds them all.

Field names are those of davidsandberg/facenet where it has the option. A field marked `where` says
where or how fast something runs, never what it makes: it stays out of the fingerprint.
"""

from facenet_core.config.align import AlignConfig
from facenet_core.config.audit import AuditConfig, FindingKind
from facenet_core.config.base import (
    AUTO_PAIRS,
    GENERATED_PAIRS,
    NOT_YAML,
    SYNTHETIC,
    Config,
    Uri,
    as_options,
    build,
    field_model,
)
from facenet_core.config.embed import EmbedConfig
from facenet_core.config.files import load
from facenet_core.config.ingest import IngestConfig
from facenet_core.config.pipeline import ClusterConfig, HoldoutConfig, PipelineConfig, holdout_of
from facenet_core.config.train import TrainConfig
from facenet_core.config.validate import ValidateConfig

__all__ = [
    "AUTO_PAIRS",
    "GENERATED_PAIRS",
    "NOT_YAML",
    "SYNTHETIC",
    "AlignConfig",
    "AuditConfig",
    "ClusterConfig",
    "Config",
    "EmbedConfig",
    "FindingKind",
    "HoldoutConfig",
    "IngestConfig",
    "PipelineConfig",
    "TrainConfig",
    "Uri",
    "ValidateConfig",
    "as_options",
    "build",
    "field_model",
    "holdout_of",
    "load",
]
