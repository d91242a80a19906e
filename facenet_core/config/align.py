"""Configuration of the align stage."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from facenet_core.config.base import (
    LARGEST_BYTES,
    LONGEST_WAIT,
    WHERE,
    Config,
    Probability,
)


class AlignConfig(Config):
    """Raw shards into face crops."""

    image_size: int = Field(160, ge=16, le=2048, description="Side of the square crop, pixels.")
    crop: Literal["original", "similarity"] = Field(
        "original",
        description="The detected box with its margin, or five-point alignment to ArcFace's "
        "template, which has no margin.",
    )
    margin: int = Field(
        32,
        ge=0,
        le=10_000,
        description="Added to the box's width and height, half on each side, pixels.",
    )
    detect_multiple_faces: bool = Field(
        False, description="Crop every face; default: the large, central one."
    )
    minsize: int = Field(20, ge=12, le=100_000, description="Smallest face looked for, pixels.")
    thresholds: tuple[Probability, Probability, Probability] = Field(
        (0.6, 0.7, 0.7), description="Score thresholds of P-Net, R-Net and O-Net."
    )
    factor: float = Field(0.709, gt=0.1, lt=1, description="Step of the image pyramid.")
    exif: Literal["apply", "ignore"] = Field(
        "apply", description="Turn photographs as EXIF says; the original did not."
    )
    tolerate_truncated: bool = Field(
        False, description="Take photographs that end early, with the missing part grey."
    )
    max_pixels: int = Field(
        120_000_000,
        ge=1,
        le=LARGEST_BYTES,
        description="Photographs with more pixels are rejects (`too_large`).",
    )
    scale_above: int = Field(
        40_000_000,
        ge=10_000,
        le=LARGEST_BYTES,
        description="Photographs with more pixels are scaled down to it, by a whole factor, "
        "before faces are looked for.",
    )
    detector_engine: Literal["auto", "openvino", "tensorflow"] = Field(
        "auto",
        description="What runs the detector's networks; auto: OpenVINO where it is installed (the "
        "extra `cpu` brings it), else TensorFlow, which also runs on GPUs.",
    )
    image_format: Literal["jpeg", "png"] = Field("jpeg", description="Encoding of the crops.")
    jpeg_quality: int = Field(95, ge=1, le=100, description="Quality of JPEG crops (4:4:4).")
    progress_timeout: float = Field(
        300.0,
        gt=0,
        le=LONGEST_WAIT,
        description="Seconds in which a worker must decode an image or detect a batch, or it is "
        "taken for hung and replaced.",
        json_schema_extra=WHERE,
    )

    def determining(self) -> dict[str, Any]:
        unused = {"margin"} if self.crop == "similarity" else set()
        return {name: v for name, v in super().determining().items() if name not in unused}

    def unused(self) -> dict[str, str]:
        names = {}
        if self.crop == "similarity":
            names["margin"] = "crop: similarity has no margin"
        if self.image_format == "png":
            names["jpeg_quality"] = "the crops are PNG"
        return names
