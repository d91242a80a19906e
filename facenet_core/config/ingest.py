"""Configuration of the ingest stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from facenet_core.config.base import (
    LARGEST_BYTES,
    LARGEST_COUNT,
    LARGEST_FACTOR,
    PATH,
    SYNTHETIC,
    WHERE,
    Address,
    Config,
    Name,
    Seed,
)


class IngestConfig(Config):
    """Photographs into raw shards."""

    source: Address = Field(
        SYNTHETIC,
        description="A data set's name (`facenet datasets` lists them), or a folder, archive, URL, "
        "s3://, Parquet, .rec or list of photographs, or `synthetic`: faces drawn here.",
        json_schema_extra=PATH,
    )
    name: Name | None = Field(None, description="Name of the data set; default: from the source.")
    shards: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = Field(
        "auto", description="Shards to aim at; one shard is one task and the unit of retry."
    )
    identity_pattern: str | None = Field(
        None,
        description="Regular expression that finds the identity in an image's path: its group "
        "`identity`, or its first; default: the folder the image lies in.",
    )
    image_column: str | None = Field(
        None, description="Parquet: column of pictures; default: the one that holds bytes."
    )
    identity_column: str | None = Field(
        None, description="Parquet: who it is; default: identity, label, person, name …"
    )
    drop_duplicates: bool = Field(
        False, description="Skip an image whose bytes came before; default: counted and kept."
    )
    max_image_bytes: int = Field(
        64 * 2**20,
        ge=1,
        le=LARGEST_BYTES,
        description="Files above this many bytes are skipped as `too_many_bytes`.",
    )
    max_image_pixels: int = Field(
        170_000_000,
        ge=1,
        le=LARGEST_BYTES,
        description="Images whose header says more are skipped as `too_many_pixels`.",
    )
    max_ratio: float = Field(
        200.0,
        gt=0,
        le=LARGEST_FACTOR,
        description="Members that unpack to more than this times their size: skipped.",
    )
    max_total_bytes: Annotated[int, Field(ge=1, le=LARGEST_BYTES)] | Literal["auto"] = Field(
        "auto",
        description="The most one source may unpack to; auto: 16 GiB and 20 times its size.",
        json_schema_extra=WHERE,
    )
    max_members: int = Field(
        50_000_000,
        ge=1,
        le=LARGEST_BYTES,
        description="The most files of one source.",
        json_schema_extra=WHERE,
    )
    strict: bool = Field(
        False,
        description="Refuse a source with any member that would be skipped, other files than "
        "images excepted.",
        json_schema_extra=WHERE,
    )
    catalogue: Address | None = Field(
        None,
        description="A YAML file with data sets of your own; default: $FACENET_CATALOGUE.",
        json_schema_extra={**WHERE, **PATH},
    )
    keep_download: bool = Field(
        True,
        description="Keep what was downloaded, under `downloads/` of the storage root.",
        json_schema_extra=WHERE,
    )
    identities: int = Field(
        100, ge=1, le=LARGEST_COUNT, description="Synthetic only: how many people."
    )
    images_per_identity: int = Field(
        10, ge=1, le=LARGEST_COUNT, description="Synthetic only: images of each."
    )
    first_identity: int = Field(
        0, ge=0, le=LARGEST_COUNT, description="Synthetic only: number of the first person."
    )
    seed: Seed = Field(0, description="Synthetic only: seed of the drawings.")

    def unused(self) -> dict[str, str]:
        if self.source == SYNTHETIC:
            names = ["identity_pattern", "image_column", "identity_column"]
            return dict.fromkeys(names, f"the source is `{SYNTHETIC}`")
        names = ["identities", "images_per_identity", "first_identity", "seed"]
        return dict.fromkeys(names, f"the source is not `{SYNTHETIC}`")
