"""Configuration of the whole pipeline, of its holdout data and of its Dask cluster."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from facenet_core.config.align import AlignConfig
from facenet_core.config.audit import AuditConfig
from facenet_core.config.base import LONGEST_WAIT, PATH, Address, Config
from facenet_core.config.embed import EmbedConfig
from facenet_core.config.ingest import IngestConfig
from facenet_core.config.train import TrainConfig
from facenet_core.config.validate import ValidateConfig
from facenet_core.errors import ConfigError
from facenet_core.privacy import url_secrets


class HoldoutConfig(Config):
    """People that training never sees, for validation."""

    ingest: IngestConfig = Field(description="Source of the validation photographs.")
    align: AlignConfig | None = Field(
        None,
        description="Alignment of the validation photographs. The default is that of the training "
        "photographs.",
    )


class ClusterConfig(Config):
    """Where shards are worked on, and models trained. Never changes what is made."""

    workers: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Number of local Dask workers. The default is the number of CPU cores, or of "
        "shards where they are fewer.",
    )
    dask_address: Address | None = Field(
        None, description="Address of an existing Dask scheduler, such as tcp://host:8786."
    )
    memory_limit: str = Field(
        "auto", description="Memory limit of each local Dask worker, such as 4GiB."
    )
    cluster_class: str | None = Field(
        None,
        pattern=r"^\w+(\.\w+)+$",
        description="Class of a Dask cluster to start instead of local workers, such as "
        "dask_kubernetes.operator.KubeCluster. `workers` sets its size.",
    )
    cluster_options: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments for `cluster_class`."
    )
    adapt: (
        tuple[Annotated[int, Field(ge=0, le=100_000)], Annotated[int, Field(ge=1, le=100_000)]]
        | None
    ) = Field(
        None,
        description="Fewest and most workers of `cluster_class`, which then scales with the work.",
    )
    train_workers: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="Number of Dask workers that share the training, each with all GPUs it sees. "
        "The default is to train in the run's own process. Takes KERAS_BACKEND=jax.",
    )
    worker_timeout: float = Field(
        600.0,
        gt=0,
        le=LONGEST_WAIT,
        description="Seconds to wait for the first worker of a Dask cluster.",
    )

    @field_validator("cluster_options")
    @classmethod
    def _strip_options(cls, options: dict[str, Any]) -> Any:
        return url_secrets.hide_all(options)

    def for_training(self) -> Self:
        """The cluster that trains: as many workers as there are ranks, unless it runs already."""
        if self.dask_address is not None:
            return self
        return self.model_copy(update={"workers": self.train_workers, "adapt": None})

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
        description="Storage root: a folder or URI. The default is $FACENET_STORAGE, or else "
        "./facenet-store.",
        json_schema_extra=PATH,
    )
    storage_credentials: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="Name of the Prefect block that holds the storage credentials. The default is "
        "$FACENET_STORAGE_CREDENTIALS, or else the AWS_… variables of the environment.",
    )
    cluster: ClusterConfig = Field(
        default_factory=ClusterConfig, description="Where shards are processed: the Dask cluster."
    )
    ingest: IngestConfig = Field(
        default_factory=IngestConfig, description="Settings of the ingest stage."
    )
    align: AlignConfig = Field(
        default_factory=AlignConfig, description="Settings of the align stage."
    )
    holdout: HoldoutConfig | None = Field(
        None, description="Photographs for validation only, of people that training never sees."
    )
    train: TrainConfig = Field(
        default_factory=TrainConfig, description="Settings of the train stage."
    )
    audit: AuditConfig = Field(
        default_factory=AuditConfig,
        description="Settings of the audit stage, which runs where they name a model.",
    )
    embed: EmbedConfig = Field(
        default_factory=EmbedConfig,
        description="Settings of the embed stage, which identification uses.",
    )
    validation: ValidateConfig = Field(
        default_factory=ValidateConfig,
        alias="validate",
        description="Settings of the validate stage.",
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
