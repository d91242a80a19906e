"""Configuration of the validate stage."""

from __future__ import annotations

from typing import Any, Literal

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

Engine = Literal["auto", "openvino", "keras", "onnxruntime"]
Precision = Literal["float32", "bfloat16"]


class ValidateConfig(Config):
    """A model on pairs of faces: the LFW protocol."""

    name: Name | None = Field(
        None, description="Name of the report. The default is the name of the model."
    )
    pairs: Address = Field(
        AUTO_PAIRS,
        description="Pairs to validate on: a pairs file (LFW, CALFW, CPLFW, AgeDB-30, CFP's "
        "folder Split/FP, CSV, Parquet), or `generate` to draw pairs from the crops. `auto` takes "
        "the pairs that come with the crops or were fetched with their data set (LFW's pairs.txt), "
        "and draws them if there are none.",
        json_schema_extra=PATH,
    )
    lfw_nrof_folds: int = Field(
        10, ge=2, le=10_000, description="Number of folds of the cross-validation."
    )
    pairs_per_fold: int = Field(
        50,
        ge=1,
        le=LARGEST_COUNT,
        description="Generated pairs: number of pairs of the same person in each fold, and as "
        "many of different people.",
    )
    pairs_seed: Seed = Field(0, description="Generated pairs: random seed.")
    missing: Literal["skip", "error", "centre-crop"] = Field(
        "skip",
        description="What to do with a pair that has an image without a crop: `skip` leaves the "
        "pair out and counts it, `error` stops the run, `centre-crop` uses the centre of the "
        "photograph.",
    )
    distance_metric: Literal["euclidean", "cosine"] = Field(
        "euclidean",
        description="Distance between embeddings: squared Euclidean distance, or cosine distance "
        "as angle/π.",
    )
    use_flipped_images: bool = Field(
        False, description="Concatenate the embedding of the mirrored image to each embedding."
    )
    subtract_mean: bool = Field(
        False, description="Subtract the mean embedding of the training folds from each embedding."
    )
    far_target: float = Field(
        1e-3,
        gt=0,
        lt=1,
        description="False accept rate (FAR) at which the validation rate (VAL) is reported.",
    )
    bootstrap_replicates: int = Field(
        1000,
        ge=0,
        le=100_000,
        description="Number of bootstrap replicates for 95 % confidence intervals. 0 computes no "
        "intervals.",
    )
    identification: bool = Field(
        False,
        description="Also embed all crops and measure identification against a gallery with one "
        "image of each person.",
    )
    groups: Address | None = Field(
        None,
        description="A CSV file of attributes (sex, age …) by image_id or identity. The report "
        "then gives metrics by group.",
        json_schema_extra=PATH,
    )
    min_accuracy: Probability | None = Field(
        None,
        description="Accuracy that the model must reach. A model that reaches it is promoted; one "
        "that does not fails the run. By default nothing is required and nothing is promoted.",
    )
    lfw_batch_size: int = Field(
        100,
        ge=1,
        le=65_536,
        description="Number of images embedded at a time.",
        json_schema_extra=WHERE,
    )
    engine: Engine = Field(
        "auto",
        description="What runs the model. `auto` is OpenVINO where it is installed, else Keras, or "
        "onnxruntime for ONNX models.",
        json_schema_extra=WHERE,
    )
    precision: Precision = Field(
        "float32",
        description="Number format that the model computes in. `bfloat16` is OpenVINO's, and "
        "faster on processors that have it.",
    )

    def determining(self) -> dict[str, Any]:
        # Left out where it is as it always was, so that earlier reports are found.
        unnamed = {"precision"} if self.precision == "float32" else set()
        return {name: v for name, v in super().determining().items() if name not in unnamed}
