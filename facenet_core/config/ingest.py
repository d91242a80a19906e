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
        description="Where the photographs come from: the name of a data set (`facenet datasets` "
        "lists them), a folder, archive, URL, s3:// address, Parquet file, .rec file or list of "
        "photographs; or `synthetic` for faces drawn by the program.",
        json_schema_extra=PATH,
    )
    name: Name | None = Field(
        None, description="Name of the data set. The default is taken from the source."
    )
    shards: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = Field(
        "auto",
        description="Number of shards to aim at. Each shard is processed and retried as one task.",
    )
    identity_pattern: str | None = Field(
        None,
        description="Regular expression that extracts the identity from an image's path: its "
        "group `identity`, or else its first group. The default is the name of the folder that "
        "holds the image.",
    )
    image_column: str | None = Field(
        None,
        description="Parquet sources: the column that holds the images. The default is the column "
        "of bytes.",
    )
    identity_column: str | None = Field(
        None,
        description="Parquet sources: the column that names the person. The default is identity, "
        "label, person, name or the like.",
    )
    drop_duplicates: bool = Field(
        False,
        description="Skip images whose bytes are identical to an earlier image. By default they "
        "are counted and stay in the data set.",
    )
    max_image_bytes: int = Field(
        64 * 2**20,
        ge=1,
        le=LARGEST_BYTES,
        description="Largest image file, in bytes. Larger files are skipped as `too_many_bytes`.",
    )
    max_image_pixels: int = Field(
        170_000_000,
        ge=1,
        le=LARGEST_BYTES,
        description="Most pixels that an image's header may declare. Larger images are skipped as "
        "`too_many_pixels`.",
    )
    max_ratio: float = Field(
        200.0,
        gt=0,
        le=LARGEST_FACTOR,
        description="Largest compression ratio of a file in an archive. Files that unpack to more "
        "than this many times their size are skipped.",
    )
    max_total_bytes: Annotated[int, Field(ge=1, le=LARGEST_BYTES)] | Literal["auto"] = Field(
        "auto",
        description="Most bytes that one source may unpack to. `auto` is 16 GiB plus 20 times the "
        "size of the source.",
        json_schema_extra=WHERE,
    )
    max_members: int = Field(
        50_000_000,
        ge=1,
        le=LARGEST_BYTES,
        description="Most files that one source may hold.",
        json_schema_extra=WHERE,
    )
    strict: bool = Field(
        False,
        description="Refuse the source if any file would be skipped, except files that are not "
        "images.",
        json_schema_extra=WHERE,
    )
    catalogue: Address | None = Field(
        None,
        description="A YAML file that describes data sets of your own. The default is "
        "$FACENET_CATALOGUE.",
        json_schema_extra={**WHERE, **PATH},
    )
    keep_download: bool = Field(
        True,
        description="Keep downloaded files, under `downloads/` in the storage root.",
        json_schema_extra=WHERE,
    )
    identities: int = Field(
        100, ge=1, le=LARGEST_COUNT, description="Synthetic faces only: number of people."
    )
    images_per_identity: int = Field(
        10,
        ge=1,
        le=LARGEST_COUNT,
        description="Synthetic faces only: number of images of each person.",
    )
    first_identity: int = Field(
        0, ge=0, le=LARGEST_COUNT, description="Synthetic faces only: number of the first person."
    )
    seed: Seed = Field(0, description="Synthetic faces only: random seed of the drawings.")

    def unused(self) -> dict[str, str]:
        if self.source == SYNTHETIC:
            names = ["identity_pattern", "image_column", "identity_column"]
            return dict.fromkeys(names, f"the source is `{SYNTHETIC}`")
        names = ["identities", "images_per_identity", "first_identity", "seed"]
        return dict.fromkeys(names, f"the source is not `{SYNTHETIC}`")
