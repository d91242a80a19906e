"""Configuration of the audit stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from facenet_core.config.base import LARGEST_COUNT, PATH, WHERE, Address, Config, Name

FindingKind = Literal[
    "duplicate", "wrong_label", "mixed_identity", "split_identity", "no_face", "leak"
]
Correlation = Annotated[float, Field(gt=0, le=1)]


class AuditConfig(Config):
    """What is wrong with a set of faces: wrong labels, duplicates, people of the validation set."""

    name: Name | None = Field(
        None, description="Name of the audit. The default is the name of the data set."
    )
    model: Address | None = Field(
        None,
        description="Model that embeds crops: any that `facenet validate` takes. Embeddings need "
        "none. In a pipeline, nothing is audited without it.",
        json_schema_extra={**PATH, **WHERE},
    )
    against: Address | None = Field(
        None,
        description="Crops or embeddings of people that must not be in this set. In a pipeline "
        "the default is the holdout.",
        json_schema_extra={**PATH, **WHERE},
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1.4,
        description="Euclidean distance of unit embeddings below which two faces are usually of "
        "one person. The default is that of the model's last validation, or else 1.084.",
    )
    duplicate_correlation: Correlation = Field(
        0.97,
        description="Correlation of the thumbnails of two faces from which on their photographs "
        "are the same one; a third of the way to 1 where the embeddings are of two people, and "
        "as far again from 1 for a mirrored face whose embedding hardly differs.",
    )
    neighbours: int = Field(
        8,
        ge=1,
        le=1000,
        description="Number of most similar thumbnails among which copies of a photograph are "
        "looked for.",
    )
    exact_faces: int = Field(
        1_000_000,
        ge=0,
        le=LARGEST_COUNT,
        description="Largest number of faces whose nearest neighbours are searched exactly. Among "
        "more an approximate index is used.",
    )
