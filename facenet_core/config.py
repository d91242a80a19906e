"""Configuration: one pydantic model a stage, and `PipelineConfig` that holds them all.

Field names are those of davidsandberg/facenet where it has the option. A field marked `where` says
where or how fast something runs, never what it makes: it stays out of the fingerprint.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from facenet_core import addresses
from facenet_core.errors import ConfigError

SYNTHETIC = "synthetic"
GENERATED_PAIRS = "generate"
AUTO_PAIRS = "auto"
_WORDS = (SYNTHETIC, GENERATED_PAIRS, AUTO_PAIRS)

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

    source: Annotated[str, AfterValidator(addresses.remember)] = Field(
        SYNTHETIC,
        description="A data set's name (`facenet datasets` lists them), or a folder, archive, URL, "
        "s3://, Parquet, .rec or list of photographs, or `synthetic`: faces drawn here.",
        json_schema_extra=_PATH,
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
        64 * 2**20, ge=1, description="Files above this many bytes are skipped as `too_many_bytes`."
    )
    max_image_pixels: int = Field(
        170_000_000,
        ge=1,
        description="Images whose header says more are skipped as `too_many_pixels`.",
    )
    max_ratio: float = Field(
        200.0, gt=0, description="Members that unpack to more than this times their size: skipped."
    )
    max_total_bytes: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="The most one source may unpack to; auto: 16 GiB and 20 times its size.",
        json_schema_extra=_WHERE,
    )
    max_members: int = Field(
        50_000_000, ge=1, description="The most files of one source.", json_schema_extra=_WHERE
    )
    strict: bool = Field(
        False,
        description="Refuse a source with any member that would be skipped, other files than "
        "images excepted.",
        json_schema_extra=_WHERE,
    )
    catalogue: str | None = Field(
        None,
        description="A YAML file with data sets of your own; default: $FACENET_CATALOGUE.",
        json_schema_extra={**_WHERE, **_PATH},
    )
    keep_download: bool = Field(
        True,
        description="Keep what was downloaded, under `downloads/` of the storage root.",
        json_schema_extra=_WHERE,
    )
    identities: int = Field(100, ge=1, description="Synthetic only: how many people.")
    images_per_identity: int = Field(10, ge=1, description="Synthetic only: images of each.")
    first_identity: int = Field(0, ge=0, description="Synthetic only: number of the first person.")
    seed: int = Field(0, ge=0, description="Synthetic only: seed of the drawings.")


class AlignConfig(Config):
    """Raw shards into face crops."""

    image_size: int = Field(160, ge=16, le=2048, description="Side of the square crop, pixels.")
    crop: Literal["original", "similarity"] = Field(
        "original",
        description="The detected box with its margin, or five-point alignment to ArcFace's "
        "template, which has no margin.",
    )
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
        120_000_000, ge=1, description="Photographs with more pixels are rejects (`too_large`)."
    )
    scale_above: int = Field(
        40_000_000,
        ge=10_000,
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
        description="Seconds in which a worker must decode an image or detect a batch, or it is "
        "taken for hung and replaced.",
        json_schema_extra=_WHERE,
    )

    def determining(self) -> dict[str, Any]:
        unused = {"margin"} if self.crop == "similarity" else set()
        return {name: v for name, v in super().determining().items() if name not in unused}


class TrainConfig(Config):
    """Crops into a face-embedding model."""

    name: Name | None = Field(None, description="Name of the model; default: that of the data.")
    resume: str | None = Field(
        None,
        description="A finished model to train on, with its optimizer, centers and classifier; "
        "fields that are not given are as they were for it.",
        json_schema_extra=_PATH,
    )
    pretrained_model: str | None = Field(
        None,
        description="A finished model whose weights to start from; `--from` for short.",
        json_schema_extra={**_PATH, "option": "--from"},
    )
    freeze: tuple[str, ...] = Field(
        (), description="Patterns of layer names (Conv2d_*, Repeat.*) that stay as they are."
    )
    model_def: str = Field(
        "squeezenet",
        description="Network: squeezenet, inception_resnet_v1, inception_resnet_v2 or "
        "module:function.",
    )
    embedding_size: int = Field(128, ge=2, description="Dimensions of the embedding.")
    image_size: int = Field(
        160, ge=32, description="Side of the network's input, pixels; larger crops are cropped."
    )
    batch_size: int = Field(90, ge=2, description="Images in a batch.")
    max_nrof_epochs: int = Field(500, ge=1, description="Epochs to train.")
    epoch_size: int | None = Field(
        1000, ge=1, description="Batches an epoch; null: one pass over the data."
    )
    sampler: Literal["shuffle", "balanced"] = Field(
        "shuffle", description="Each image equally often, or each person."
    )
    keep_probability: Probability = Field(1.0, description="Kept by dropout before the embedding.")
    weight_decay: float = Field(0.0, ge=0, description="L2 weight regularisation of kernels.")
    loss: Literal["softmax", "triplet", "arcface", "cosface"] = Field(
        "softmax", description="What tells people apart."
    )
    logit_scale: float = Field(64.0, gt=0, description="ArcFace, CosFace: s.")
    logit_margin: float | None = Field(
        None, ge=0, lt=1.5, description="ArcFace, CosFace: m; default: 0.5 radians, 0.35."
    )
    alpha: float = Field(0.2, gt=0, description="Triplet loss: margin between squared distances.")
    people_per_batch: int = Field(
        45, ge=2, description="Triplet loss: people among whom triplets are chosen."
    )
    images_per_person: int = Field(40, ge=2, description="Triplet loss: images of each, at most.")
    triplet_selection: Literal["violating", "semi_hard"] = Field(
        "violating",
        description="Triplet loss: a negative within the margin, or farther than the positive too.",
    )
    center_loss_factor: float = Field(0.0, ge=0, description="λ: weight of the center loss.")
    center_loss_alfa: float = Field(
        0.95, ge=0, le=1, description="Centers keep this share of their place at each batch."
    )
    prelogits_norm_loss_factor: float = Field(
        0.0, ge=0, description="Weight of the mean p-norm of the embeddings before normalisation."
    )
    prelogits_norm_p: float = Field(1.0, gt=0, description="p of that norm.")
    optimizer: Literal["adagrad", "adadelta", "adam", "rmsprop", "momentum", "adamw"] = Field(
        "adagrad", description="With the update rules and constants of the original."
    )
    learning_rate: float = Field(
        0.1, description="Fixed learning rate; negative: take the schedule file."
    )
    learning_rate_schedule_file: str | None = Field(
        None,
        description="Lines `epoch: rate`, used where learning_rate is negative.",
        json_schema_extra=_PATH,
    )
    learning_rate_decay_epochs: int = Field(
        100, ge=1, description="Epochs after which the rate is multiplied by the decay factor."
    )
    learning_rate_decay_factor: float = Field(1.0, gt=0, le=1, description="That factor.")
    learning_rate_cosine: bool = Field(
        False, description="Let the rate fall to zero along half a cosine."
    )
    warmup_epochs: float = Field(0.0, ge=0, description="Epochs in which the rate rises from zero.")
    moving_average_decay: float = Field(
        0.0, ge=0, lt=1, description="Exponential moving average of weights; 0: off."
    )
    batch_norm_decay: float = Field(
        0.995, ge=0, lt=1, description="Decay of batch norm's running averages."
    )
    random_rotate: bool = Field(False, description="Turn images by up to 10° either way.")
    random_crop: bool = Field(False, description="Crop at random places; default: the centre.")
    random_flip: bool = Field(False, description="Mirror half of the images.")
    random_brightness: float = Field(
        0.0, ge=0, lt=1, description="Add up to this share of the range of pixels either way."
    )
    random_contrast: float = Field(
        0.0, ge=0, lt=1, description="Stretch pixels around their mean by up to this share."
    )
    random_cutout: int = Field(0, ge=0, description="Side of a square that is blanked, pixels.")
    use_fixed_image_standardization: bool = Field(
        False, description="(x − 127.5)/128 instead of each image's own mean and deviation."
    )
    filter_min_nrof_images_per_class: int = Field(
        0, ge=0, description="People with fewer images are left out."
    )
    filter_model: str | None = Field(
        None,
        description="A finished model by which images far from their person's centre are found.",
        json_schema_extra=_PATH,
    )
    filter_percentile: float = Field(
        100.0, gt=0, le=100, description="Keep this percentage of images, the nearest ones."
    )
    validation_set_split_ratio: float = Field(
        0.0, ge=0, lt=1, description="Share of each person's images held out of training."
    )
    min_nrof_val_images_per_class: int = Field(
        0, ge=0, description="Of people with fewer images none are held out."
    )
    validate_every_n_epochs: int = Field(
        5, ge=1, description="Epochs between looks at what is held out; the last is one."
    )
    lfw_dir: str | None = Field(
        None,
        description="Crops of other people, on whose pairs the model is measured on the way.",
        json_schema_extra=_PATH,
    )
    lfw_pairs: str = Field(
        AUTO_PAIRS, description="Their pairs, as `validate.pairs`.", json_schema_extra=_PATH
    )
    lfw_nrof_folds: int = Field(10, ge=2, description="Folds, as for validate.")
    lfw_distance_metric: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="Distance, as for validate."
    )
    lfw_use_flipped_images: bool = Field(False, description="Mirror images, as for validate.")
    lfw_subtract_mean: bool = Field(False, description="Subtract the mean, as for validate.")
    lfw_every_n_epochs: int = Field(
        1, ge=1, description="Epochs between these measurements; the last is one."
    )
    monitor: Literal["lfw_accuracy", "validation_accuracy"] = Field(
        "lfw_accuracy", description="What early stop and keep_best go by."
    )
    keep_best: bool = Field(
        False, description="The model is that of the best epoch; default: of the last."
    )
    early_stop: int | None = Field(
        None, ge=1, description="Stop after so many measurements without a better one."
    )
    mixed_precision: Literal["off", "bfloat16", "float16"] = Field(
        "off", description="Compute in half precision; weights and losses stay float32."
    )
    data_parallel: bool = Field(
        False,
        description="Share each batch between all GPUs of this host; under JAX.",
        json_schema_extra=_WHERE,
    )
    seed: int = Field(666, ge=0, description="Seed of weights, order, crops and dropout.")
    checkpoint_every: int = Field(
        200, ge=1, description="Steps between checkpoints.", json_schema_extra=_WHERE
    )
    checkpoints_kept: int = Field(
        3, ge=1, description="Checkpoints kept, besides the best.", json_schema_extra=_WHERE
    )
    log_histograms: bool = Field(
        False, description="TensorBoard: histograms of all weights.", json_schema_extra=_WHERE
    )
    nrof_preprocess_threads: int | None = Field(
        None, ge=1, description="Decoding threads; default: the cores.", json_schema_extra=_WHERE
    )
    crop_cache_gib: float = Field(
        100.0,
        gt=0,
        description="The most that local copies of crops may take, GiB; the longest unused go.",
        json_schema_extra=_WHERE,
    )
    gpu_memory_fraction: float = Field(
        1.0, gt=0, le=1, description="Upper bound on GPU memory.", json_schema_extra=_WHERE
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.resume is not None and self.pretrained_model is not None:
            raise ValueError("give either resume or pretrained_model (--from), not both")
        if self.loss == "triplet":
            if self.batch_size % 3:
                raise ValueError(f"batch_size {self.batch_size}: triplets need a multiple of 3")
            if self.center_loss_factor:
                raise ValueError("center_loss_factor: the triplet loss knows no classes")
            if self.validation_set_split_ratio:
                raise ValueError(
                    "validation_set_split_ratio: the triplet loss has no classifier to validate; "
                    "measure on other people with lfw_dir"
                )
        if self.filter_percentile < 100 and self.filter_model is None and self.resume is None:
            raise ValueError("filter_percentile: set filter_model, by which distances are measured")
        by_pairs = self.monitor == "lfw_accuracy"
        watched = self.lfw_dir if by_pairs else self.validation_set_split_ratio
        if self.watches and not watched and self.resume is None:
            raise ValueError(
                "early_stop and keep_best need something to go by: set lfw_dir, or monitor: "
                "validation_accuracy and validation_set_split_ratio"
            )
        return self

    @property
    def watches(self) -> bool:
        """Whether figures on the way decide what the model will be."""
        return self.keep_best or self.early_stop is not None

    def determining(self) -> dict[str, Any]:
        """Without what this loss does not use, and what only tells how training goes."""
        unused = set()
        if self.loss not in ("arcface", "cosface"):
            unused |= {"logit_scale", "logit_margin"}
        if self.loss != "triplet":
            unused |= {"alpha", "people_per_batch", "images_per_person", "triplet_selection"}
        watched = self.monitor if self.watches else None
        if watched is None:
            unused |= {"monitor", "keep_best", "early_stop"}
        if watched != "validation_accuracy":
            unused |= {"validate_every_n_epochs"}
        everything = super().determining()
        return {
            name: value
            for name, value in everything.items()
            if name not in unused and (watched == "lfw_accuracy" or not name.startswith("lfw_"))
        }


class ValidateConfig(Config):
    """A model on pairs of faces: the LFW protocol."""

    name: Name | None = Field(None, description="Name of the report; default: that of the model.")
    pairs: str = Field(
        AUTO_PAIRS,
        description="A pairs file (LFW, CALFW, CPLFW, AgeDB-30, CFP's folder Split/FP, CSV, "
        "Parquet), or `generate`: drawn from the crops; auto: those that the crops bring, else "
        "drawn.",
        json_schema_extra=_PATH,
    )
    lfw_nrof_folds: int = Field(10, ge=2, description="Folds of the cross-validation.")
    pairs_per_fold: int = Field(
        50, ge=1, description="Generated pairs: as many of the same person as of two, in each fold."
    )
    pairs_seed: int = Field(0, ge=0, description="Seed of generated pairs.")
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
    groups: str | None = Field(
        None,
        description="A CSV of attributes (sex, age …) by image_id or identity: figures by group.",
        json_schema_extra=_PATH,
    )
    min_accuracy: Probability | None = Field(
        None,
        description="Gate: a model that reaches this accuracy is promoted, one that does not fails "
        "the run; default: no gate, and no promotion.",
    )
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
    cluster_class: str | None = Field(
        None,
        pattern=r"^\w+(\.\w+)+$",
        description="A Dask cluster to start instead of local workers, such as "
        "dask_kubernetes.operator.KubeCluster; `workers` scales it.",
    )
    cluster_options: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of cluster_class."
    )
    adapt: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] | None = Field(
        None, description="Fewest and most workers of cluster_class, as the work demands."
    )
    worker_timeout: float = Field(
        600.0, gt=0, description="Seconds to wait for the first worker of a cluster."
    )

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
    if problem["type"] == "value_error" and not problem["loc"]:
        return str(problem["ctx"]["error"])  # of fields that do not go together
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
        if is_path and isinstance(value, str) and not _is_name(value, folder):
            values[key] = str((folder / Path(value).expanduser()).absolute())


def _is_name(value: str, folder: Path) -> bool:
    """Whether a value is no path beside the file: absolute, or the bare name of a data set."""
    if re.fullmatch(r"(newest:|promoted:)?[\w-]+", value) and not (folder / value).exists():
        return True
    return "://" in value or value in _WORDS or Path(value).is_absolute()


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
