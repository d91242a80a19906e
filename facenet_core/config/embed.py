"""Configuration of the embed stage."""

from __future__ import annotations

from pydantic import Field

from facenet_core.config.base import LONGEST_WAIT, WHERE, Config
from facenet_core.config.validate import Engine, Precision


class EmbedConfig(Config):
    """Crops and a model into embeddings."""

    engine: Engine = Field(
        "auto",
        description="What runs the model. `auto` is OpenVINO where it is installed, else Keras.",
        json_schema_extra=WHERE,
    )
    precision: Precision = Field(
        "float32",
        description="Number format that the model computes in. `bfloat16` is OpenVINO's, and "
        "faster on processors that have it.",
    )
    use_flipped_images: bool = Field(
        False,
        description="Also embed the mirrored images, into a second column. A validation with "
        "use_flipped_images needs them.",
    )
    progress_timeout: float = Field(
        300.0,
        gt=0,
        le=LONGEST_WAIT,
        description="Seconds a worker may take to embed one row group of at most 64 crops. After "
        "that it is considered hung and is replaced.",
        json_schema_extra=WHERE,
    )
