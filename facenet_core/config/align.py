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

    image_size: int = Field(160, ge=16, le=2048, description="Side of the square crop, in pixels.")
    crop: Literal["original", "similarity"] = Field(
        "original",
        description="How a face is cropped. `original` takes the detected box with its margin; "
        "`similarity` aligns five landmarks to ArcFace's template and has no margin.",
    )
    margin: int = Field(
        32,
        ge=0,
        le=10_000,
        description="Pixels added to the width and height of the detected box, half on each side.",
    )
    detect_multiple_faces: bool = Field(
        False,
        description="Crop every face in a photograph. By default only one is cropped: a large "
        "face near the centre.",
    )
    minsize: int = Field(20, ge=12, le=100_000, description="Smallest face to detect, in pixels.")
    thresholds: tuple[Probability, Probability, Probability] = Field(
        (0.6, 0.7, 0.7),
        description="Score thresholds of the detector's three networks: P-Net, R-Net and O-Net.",
    )
    factor: float = Field(
        0.709,
        gt=0.1,
        lt=1,
        description="Scale factor between the levels of the detector's image pyramid.",
    )
    exif: Literal["apply", "ignore"] = Field(
        "apply",
        description="Whether to rotate photographs by their EXIF orientation. The original "
        "facenet ignores it.",
    )
    tolerate_truncated: bool = Field(
        False, description="Accept truncated photographs and fill the missing part with grey."
    )
    max_pixels: int = Field(
        120_000_000,
        ge=1,
        le=LARGEST_BYTES,
        description="Most pixels of a photograph. Larger ones are rejected as `too_large`.",
    )
    scale_above: int = Field(
        40_000_000,
        ge=10_000,
        le=LARGEST_BYTES,
        description="Photographs with more pixels than this are scaled down by a whole factor "
        "before detection.",
    )
    detector_engine: Literal["auto", "openvino", "tensorflow"] = Field(
        "auto",
        description="Runtime of the detector's networks. `auto` is OpenVINO where it is installed "
        "(the extras `use` and `cpu` bring it), else TensorFlow, which also runs on GPUs.",
    )
    gpu_memory_fraction: Probability = Field(
        1.0,
        description="Upper bound of the GPU memory that each worker takes, as a fraction, where "
        "TensorFlow runs the detector on a GPU. It does nothing elsewhere.",
        json_schema_extra=WHERE,
    )
    image_format: Literal["jpeg", "png"] = Field("jpeg", description="Image format of the crops.")
    jpeg_quality: int = Field(95, ge=1, le=100, description="JPEG quality of the crops (4:4:4).")
    progress_timeout: float = Field(
        300.0,
        gt=0,
        le=LONGEST_WAIT,
        description="Seconds a worker may take to decode one image or to detect faces in one "
        "batch. After that it is considered hung and is replaced.",
        json_schema_extra=WHERE,
    )

    def determining(self) -> dict[str, Any]:
        unused = {"margin"} if self.crop == "similarity" else set()
        return {name: v for name, v in super().determining().items() if name not in unused}

    def unused(self) -> dict[str, str]:
        names = {}
        if self.crop == "similarity":
            names["margin"] = "crop: similarity has no margin"
        if self.detector_engine == "openvino":
            names["gpu_memory_fraction"] = "the detector runs on OpenVINO, on processors"
        if self.image_format == "png":
            names["jpeg_quality"] = "the crops are PNG"
        return names
