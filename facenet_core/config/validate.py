"""Configuration of the validate stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from facenet_core.config.base import (
    AUTO_PAIRS,
    LARGEST_COUNT,
    PATH,
    WHERE,
    Address,
    Config,
    Name,
    Probability,
    Seed,
)


class ValidateConfig(Config):
    """A model on pairs of faces: the LFW protocol."""

    name: Name | None = Field(None, description="Name of the report; default: that of the model.")
    pairs: Address = Field(
        AUTO_PAIRS,
        description="A pairs file (LFW, CALFW, CPLFW, AgeDB-30, CFP's folder Split/FP, CSV, "
        "Parquet), or `generate`: drawn from the crops; auto: those that the crops bring, else "
        "drawn.",
        json_schema_extra=PATH,
    )
    lfw_nrof_folds: int = Field(10, ge=2, le=10_000, description="Folds of the cross-validation.")
    pairs_per_fold: int = Field(
        50,
        ge=1,
        le=LARGEST_COUNT,
        description="Generated pairs: as many of the same person as of two, in each fold.",
    )
    pairs_seed: Seed = Field(0, description="Seed of generated pairs.")
    missing: Literal["skip", "error", "centre-crop"] = Field(
        "skip",
        description="A pair whose image gave no crop: left out and counted, an error, or decided "
        "by the middle of the photograph.",
    )
    distance_metric: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="Squared Euclidean distance, or angle/π."
    )
    use_flipped_images: bool = Field(
        False, description="Join the embedding of the mirrored image to each embedding."
    )
    subtract_mean: bool = Field(False, description="Subtract the training folds' mean embedding.")
    far_target: float = Field(1e-3, gt=0, lt=1, description="False accept rate of VAL@FAR.")
    bootstrap_replicates: int = Field(
        1000, ge=0, le=100_000, description="Replicates behind 95 % intervals; 0: no intervals."
    )
    identification: bool = Field(
        False, description="Embed all crops, and find people in a gallery of one image each."
    )
    groups: Address | None = Field(
        None,
        description="A CSV of attributes (sex, age …) by image_id or identity: figures by group.",
        json_schema_extra=PATH,
    )
    min_accuracy: Probability | None = Field(
        None,
        description="Gate: a model that reaches this accuracy is promoted, one that does not fails "
        "the run; default: no gate, and no promotion.",
    )
    lfw_batch_size: int = Field(
        100, ge=1, le=65_536, description="Images embedded at a time.", json_schema_extra=WHERE
    )
