"""Configuration: one pydantic model a stage, and `PipelineConfig` that holds them all.

Field names are those of davidsandberg/facenet where it has the option. A field marked `where` says
where or how fast something runs, never what it makes: it stays out of the fingerprint.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facenet_core.errors import ConfigError

SYNTHETIC = "synthetic"
GENERATED_PAIRS = "generate"

_WHERE = {"where": True}
_PATH = {"path": True}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Probability = Annotated[float, Field(gt=0, le=1)]
Model = TypeVar("Model", bound="Config")


class Config(BaseModel):
    """Base of all configuration: immutable, and unknown fields are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # a data set may be called 2024
        populate_by_name=True,
    )

    def determining(self) -> dict[str, Any]:
        """The fields that determine what is made, as JSON values (without those marked `where`)."""
        where = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("where")
        }
        return self.model_dump(mode="json", exclude=where)


class IngestConfig(Config):
    """Photographs into raw shards."""

    source: str = Field(
        SYNTHETIC,
        description="A folder or archive (.tar, .tgz, .tar.bz2, .tar.xz, .zip) of "
        "Name/Name_0001.jpg, or `synthetic`: faces drawn here.",
        json_schema_extra=_PATH,
    )
    name: Name | None = Field(None, description="Name of the data set; default: from the source.")
    shards: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = Field(
        "auto", description="Shards to aim at; one shard is one task and the unit of retry."
    )
    max_image_bytes: int = Field(
        64 * 2**20, ge=1, description="Files above this many bytes are skipped as `too_many_bytes`."
    )
    identities: int = Field(100, ge=1, description="Synthetic only: how many people.")
    images_per_identity: int = Field(10, ge=1, description="Synthetic only: images of each.")
    first_identity: int = Field(0, ge=0, description="Synthetic only: number of the first person.")
    seed: int = Field(0, ge=0, description="Synthetic only: seed of the drawings.")


class AlignConfig(Config):
    """Raw shards into face crops."""

    image_size: int = Field(160, ge=16, le=2048, description="Side of the square crop, pixels.")
    margin: int = Field(
        32, ge=0, description="Added to the box's width and height, half on each side, pixels."
    )
    detect_multiple_faces: bool = Field(
        False, description="Crop every face; default: the large, central one."
    )
    minsize: int = Field(20, ge=12, description="Smallest face looked for, pixels.")
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
        40_000_000, ge=1, description="Photographs with more pixels are rejects (`too_large`)."
    )
    image_format: Literal["jpeg", "png"] = Field("jpeg", description="Encoding of the crops.")
    jpeg_quality: int = Field(95, ge=1, le=100, description="Quality of JPEG crops (4:4:4).")


class TrainConfig(Config):
    """Crops into a face-embedding model: softmax loss + center loss."""

    name: Name | None = Field(None, description="Name of the model; default: that of the data.")
    model_def: str = Field("squeezenet", description="Network: squeezenet or inception_resnet_v1.")
    embedding_size: int = Field(128, ge=2, description="Dimensions of the embedding.")
    image_size: int = Field(
        160, ge=32, description="Side of the network's input, pixels; larger crops are cropped."
    )
    batch_size: int = Field(90, ge=2, description="Images in a batch.")
    max_nrof_epochs: int = Field(500, ge=1, description="Epochs to train.")
    epoch_size: int | None = Field(
        1000, ge=1, description="Batches an epoch; null: one pass over the data."
    )
    keep_probability: Probability = Field(1.0, description="Kept by dropout before the embedding.")
    weight_decay: float = Field(0.0, ge=0, description="L2 weight regularisation of kernels.")
    center_loss_factor: float = Field(0.0, ge=0, description="λ: weight of the center loss.")
    center_loss_alfa: float = Field(
        0.95, ge=0, le=1, description="Centers keep this share of their place at each batch."
    )
    prelogits_norm_loss_factor: float = Field(
        0.0, ge=0, description="Weight of the mean p-norm of the embeddings before normalisation."
    )
    prelogits_norm_p: float = Field(1.0, gt=0, description="p of that norm.")
    optimizer: Literal["adagrad", "adadelta", "adam", "rmsprop", "momentum"] = Field(
        "adagrad", description="With the constants of the original."
    )
    learning_rate: float = Field(
        0.1, description="Fixed learning rate; negative: take the schedule file."
    )
    learning_rate_schedule_file: str | None = Field(
        None,
        description="Lines `epoch: rate`, used where learning_rate is negative.",
        json_schema_extra=_PATH,
    )
    moving_average_decay: float = Field(
        0.0, ge=0, lt=1, description="Exponential moving average of weights; 0: off."
    )
    batch_norm_decay: float = Field(
        0.995, ge=0, lt=1, description="Decay of batch norm's running averages."
    )
    random_crop: bool = Field(False, description="Crop at random places; default: the centre.")
    random_flip: bool = Field(False, description="Mirror half of the images.")
    use_fixed_image_standardization: bool = Field(
        False, description="(x − 127.5)/128 instead of each image's own mean and deviation."
    )
    validation_set_split_ratio: float = Field(
        0.0, ge=0, lt=1, description="Share of each person's images held out of training."
    )
    min_nrof_images_per_class: int = Field(
        1, ge=1, description="People with fewer images are left out."
    )
    seed: int = Field(666, ge=0, description="Seed of weights, order, crops and dropout.")
    checkpoint_every: int = Field(
        200, ge=1, description="Steps between checkpoints.", json_schema_extra=_WHERE
    )
    nrof_preprocess_threads: int | None = Field(
        None, ge=1, description="Decoding threads; default: the cores.", json_schema_extra=_WHERE
    )
    gpu_memory_fraction: float = Field(
        1.0, gt=0, le=1, description="Upper bound on GPU memory.", json_schema_extra=_WHERE
    )


class ValidateConfig(Config):
    """A model on pairs of faces: the LFW protocol."""

    name: Name | None = Field(None, description="Name of the report; default: that of the model.")
    pairs: str = Field(
        GENERATED_PAIRS,
        description="A pairs file in LFW's format, or `generate`: pairs drawn from the crops.",
        json_schema_extra=_PATH,
    )
    lfw_nrof_folds: int = Field(10, ge=2, description="Folds of the cross-validation.")
    pairs_per_fold: int = Field(
        50, ge=1, description="Generated pairs: as many of the same person as of two, in each fold."
    )
    pairs_seed: int = Field(0, ge=0, description="Seed of generated pairs.")
    missing: Literal["skip", "error"] = Field(
        "skip", description="A pair whose image gave no crop: left out and counted, or an error."
    )
    distance_metric: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="Squared Euclidean distance, or angle/π."
    )
    use_flipped_images: bool = Field(
        False, description="Join the embedding of the mirrored image to each embedding."
    )
    subtract_mean: bool = Field(False, description="Subtract the training folds' mean embedding.")
    far_target: float = Field(1e-3, gt=0, lt=1, description="False accept rate of VAL@FAR.")
    lfw_batch_size: int = Field(
        100, ge=1, description="Images embedded at a time.", json_schema_extra=_WHERE
    )


class HoldoutConfig(Config):
    """People that training never sees, for validation."""

    ingest: IngestConfig
    align: AlignConfig | None = Field(None, description="Default: as the training photographs.")


class ClusterConfig(Config):
    """Where shards are worked on. Never changes what is made."""

    workers: int | None = Field(None, ge=1, description="Local Dask workers; default: the cores.")
    dask_address: str | None = Field(None, description="An existing scheduler, tcp://host:8786.")
    memory_limit: str = Field("auto", description="Memory limit of one local worker.")


class PipelineConfig(Config):
    """The whole pipeline, as a YAML file holds it."""

    storage: str | None = Field(
        None,
        description="Storage root, a folder or URI; default: $FACENET_STORAGE or ./facenet-store.",
        json_schema_extra=_PATH,
    )
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    align: AlignConfig = Field(default_factory=AlignConfig)
    holdout: HoldoutConfig | None = Field(None, description="Photographs for validation only.")
    train: TrainConfig = Field(default_factory=TrainConfig)
    validation: ValidateConfig = Field(
        default_factory=ValidateConfig, alias="validate", description="Section `validate`."
    )


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read a configuration file and apply overrides such as `train.max_nrof_epochs=3`.

    Relative paths in the file are relative to the file's folder; those of overrides to the working
    folder. Without a path, the defaults.

    Raises:
        ConfigError: the file is missing, not YAML, or a field is unknown or has a wrong value.
    """
    values: dict[str, Any] = {}
    origin = "the command line"
    if path is not None:
        origin = str(path)
        values = _read_yaml(Path(path))
        _anchor_paths(values, PipelineConfig, Path(path).absolute().parent)
    for override in overrides:
        _apply_override(values, override)
    return build(PipelineConfig, values, origin)


def build(model: type[Model], values: Mapping[str, Any], origin: str) -> Model:
    """Validate `values` as `model`; `origin` says in the error where they came from.

    Raises:
        ConfigError: naming each wrong field, and the nearest name of an unknown one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise ConfigError(f"{origin}: " + "; ".join(lines)) from None


def field_model(model: type[Config], path: Sequence[str | int]) -> type[Config] | None:
    """The configuration model at a dotted path below `model`, or None where there is none."""
    for part in path:
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
                nested = [c for c in candidates if isinstance(c, type) and issubclass(c, Config)]
                break
        else:
            return None
        if not nested:
            return None
        model = nested[0]
    return model


def _explain(model: type[Config], problem: Any) -> str:
    *parents, name = problem["loc"] or ("configuration",)
    dotted = ".".join(str(part) for part in problem["loc"]) or "configuration"
    if problem["type"] != "extra_forbidden":
        return f"{dotted}: {problem['msg']} (got {problem['input']!r})"
    owner = field_model(model, parents) or model
    known = [field.alias or key for key, field in owner.model_fields.items()]
    nearest = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"known: {', '.join(known)}"
    return f"unknown field `{dotted}`; {hint}"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration file: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections such as `train:`, found {values!r:.60}")
    return {
        key: {} if value is None and key != "storage" else value for key, value in values.items()
    }


def _anchor_paths(values: dict[str, Any], model: type[Config], folder: Path) -> None:
    """Make relative paths in `values` absolute, in place."""
    for key, value in values.items():
        nested = field_model(model, [key])
        if nested is not None and isinstance(value, dict):
            _anchor_paths(value, nested, folder)
            continue
        field = model.model_fields.get(key)
        extra = field.json_schema_extra if field is not None else None
        is_path = isinstance(extra, dict) and extra.get("path")
        if is_path and isinstance(value, str) and not _is_absolute(value):
            values[key] = str((folder / Path(value).expanduser()).absolute())


def _is_absolute(value: str) -> bool:
    return "://" in value or value in (SYNTHETIC, GENERATED_PAIRS) or Path(value).is_absolute()


def _apply_override(values: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted.strip():
        raise ConfigError(f"--set {override}: expected section.field=value")
    *parents, name = dotted.strip().replace("-", "_").split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: `{parent}` is not a section")
    try:
        values[name] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: not a valid value: {error}") from None
