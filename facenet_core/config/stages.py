"""Configuration of ingest, align, validate, the cluster, and the pipeline that holds them all."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from facenet_core.config.base import (
    AUTO_PAIRS,
    LARGEST_BYTES,
    LARGEST_COUNT,
    LARGEST_FACTOR,
    PATH,
    SYNTHETIC,
    WHERE,
    Address,
    Config,
    Name,
    Probability,
    Seed,
)
from facenet_core.config.training import TrainConfig
from facenet_core.errors import ConfigError
from facenet_core.privacy import url_secrets

LONGEST_WAIT = 1e7  # seconds: four months


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
            names = ("identity_pattern", "image_column", "identity_column")
            return dict.fromkeys(names, f"the source is `{SYNTHETIC}`")
        names = ("identities", "images_per_identity", "first_identity", "seed")
        return dict.fromkeys(names, f"the source is not `{SYNTHETIC}`")


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


class HoldoutConfig(Config):
    """People that training never sees, for validation."""

    ingest: IngestConfig
    align: AlignConfig | None = Field(None, description="Default: as the training photographs.")


class ClusterConfig(Config):
    """Where shards are worked on. Never changes what is made."""

    workers: int | None = Field(
        None, ge=1, le=100_000, description="Local Dask workers; default: the cores."
    )
    dask_address: Address | None = Field(
        None, description="An existing scheduler, tcp://host:8786."
    )
    memory_limit: str = Field("auto", description="Memory limit of one local worker.")
    cluster_class: str | None = Field(
        None,
        pattern=r"^\w+(\.\w+)+$",
        description="A Dask cluster to start instead of local workers, such as "
        "dask_kubernetes.operator.KubeCluster; `workers` scales it.",
    )
    cluster_options: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of cluster_class."
    )
    adapt: (
        tuple[Annotated[int, Field(ge=0, le=100_000)], Annotated[int, Field(ge=1, le=100_000)]]
        | None
    ) = Field(None, description="Fewest and most workers of cluster_class, as the work demands.")
    worker_timeout: float = Field(
        600.0,
        gt=0,
        le=LONGEST_WAIT,
        description="Seconds to wait for the first worker of a cluster.",
    )

    @field_validator("cluster_options")
    @classmethod
    def _strip_options(cls, options: dict[str, Any]) -> Any:
        return url_secrets.hide_all(options)

    def unused(self) -> dict[str, str]:
        if self.dask_address is None:
            return {}
        names = ("workers", "memory_limit")
        return dict.fromkeys(names, "dask_address names a cluster that has its own")

    @model_validator(mode="after")
    def _one_cluster(self) -> Self:
        if self.cluster_class is not None and self.dask_address is not None:
            raise ValueError("give either dask_address or cluster_class, not both")
        if self.cluster_class is None and (self.cluster_options or self.adapt):
            raise ValueError("cluster_options and adapt are for a cluster_class, which is missing")
        if self.adapt is not None and self.workers is not None:
            raise ValueError("give either workers or adapt, not both")
        if self.adapt is not None and self.adapt[0] > self.adapt[1]:
            raise ValueError("adapt takes the fewest, then the most workers")
        return self


class PipelineConfig(Config):
    """The whole pipeline, as a YAML file holds it."""

    storage: Address | None = Field(
        None,
        description="Storage root, a folder or URI; default: $FACENET_STORAGE or ./facenet-store.",
        json_schema_extra=PATH,
    )
    storage_credentials: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="Name of the Prefect block that holds the credentials of the storage; default: "
        "$FACENET_STORAGE_CREDENTIALS, or else the AWS_… of the environment.",
    )
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    align: AlignConfig = Field(default_factory=AlignConfig)
    holdout: HoldoutConfig | None = Field(None, description="Photographs for validation only.")
    train: TrainConfig = Field(default_factory=TrainConfig)
    validation: ValidateConfig = Field(
        default_factory=ValidateConfig, alias="validate", description="Section `validate`."
    )

    @model_validator(mode="after")
    def _two_addresses(self) -> Self:
        source = self.ingest.source
        hidden = url_secrets.whole(source) != source
        if hidden and self.holdout is not None and self.holdout.ingest.source == source:
            raise ValueError(
                f"the addresses of ingest and holdout are both {source} but for parameters that "
                "are kept secret, which cannot be told apart; ingest one of them by itself first"
            )
        return self


def holdout_of(config: PipelineConfig) -> HoldoutConfig:
    """The photographs to validate on, which the whole pipeline needs.

    Raises:
        ConfigError: the configuration has none.
    """
    if config.holdout is None:
        raise ConfigError(
            "holdout: the pipeline needs photographs of people that training never sees; add a "
            "section `holdout: {ingest: {source: …}}`"
        )
    return config.holdout
