"""Configuration of the train stage."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from facenet_core.config.base import (
    AUTO_PAIRS,
    LARGEST_COUNT,
    LARGEST_FACTOR,
    PATH,
    WHERE,
    Address,
    Config,
    Name,
    Probability,
    Seed,
)

_OF_TRIPLETS = ("alpha", "people_per_batch", "images_per_person", "triplet_selection")


class TrainConfig(Config):
    """Crops into a face-embedding model."""

    name: Name | None = Field(None, description="Name of the model; default: that of the data.")
    resume: Address | None = Field(
        None,
        description="A finished model to train on, with its optimizer, centers and classifier; "
        "fields that are not given are as they were for it.",
        json_schema_extra=PATH,
    )
    pretrained_model: Address | None = Field(
        None,
        description="A finished model whose weights to start from; `--from` for short.",
        json_schema_extra={**PATH, "option": "--from"},
    )
    freeze: tuple[str, ...] = Field(
        (), description="Patterns of layer names (Conv2d_*, Repeat.*) that stay as they are."
    )
    model_def: str = Field(
        "squeezenet",
        description="Network: squeezenet, inception_resnet_v1, inception_resnet_v2 or "
        "module:function.",
    )
    embedding_size: int = Field(128, ge=2, le=2**14, description="Dimensions of the embedding.")
    image_size: int = Field(
        160,
        ge=32,
        le=2048,
        description="Side of the network's input, pixels; larger crops are cropped.",
    )
    batch_size: int = Field(90, ge=2, le=65_536, description="Images in a batch.")
    max_nrof_epochs: int = Field(500, ge=1, le=LARGEST_COUNT, description="Epochs to train.")
    epoch_size: int | None = Field(
        1000, ge=1, le=LARGEST_COUNT, description="Batches an epoch; null: one pass over the data."
    )
    sampler: Literal["shuffle", "balanced"] = Field(
        "shuffle", description="Each image equally often, or each person."
    )
    keep_probability: Probability = Field(1.0, description="Kept by dropout before the embedding.")
    weight_decay: float = Field(
        0.0, ge=0, le=LARGEST_FACTOR, description="L2 weight regularisation of kernels."
    )
    loss: Literal["softmax", "triplet", "arcface", "cosface"] = Field(
        "softmax", description="What tells people apart."
    )
    logit_scale: float = Field(64.0, gt=0, le=LARGEST_FACTOR, description="ArcFace, CosFace: s.")
    logit_margin: float | None = Field(
        None, ge=0, lt=1.5, description="ArcFace, CosFace: m; default: 0.5 radians, 0.35."
    )
    alpha: float = Field(
        0.2, gt=0, le=LARGEST_FACTOR, description="Triplet loss: margin between squared distances."
    )
    people_per_batch: int = Field(
        45,
        ge=2,
        le=LARGEST_COUNT,
        description="Triplet loss: people among whom triplets are chosen.",
    )
    images_per_person: int = Field(
        40, ge=2, le=LARGEST_COUNT, description="Triplet loss: images of each, at most."
    )
    triplet_selection: Literal["violating", "semi_hard"] = Field(
        "violating",
        description="Triplet loss: a negative within the margin, or farther than the positive too.",
    )
    center_loss_factor: float = Field(
        0.0, ge=0, le=LARGEST_FACTOR, description="λ: weight of the center loss."
    )
    center_loss_alfa: float = Field(
        0.95, ge=0, le=1, description="Centers keep this share of their place at each batch."
    )
    prelogits_norm_loss_factor: float = Field(
        0.0,
        ge=0,
        le=LARGEST_FACTOR,
        description="Weight of the mean p-norm of the embeddings before normalisation.",
    )
    prelogits_norm_p: float = Field(1.0, gt=0, le=1000, description="p of that norm.")
    optimizer: Literal["adagrad", "adadelta", "adam", "rmsprop", "momentum", "adamw"] = Field(
        "adagrad", description="With the update rules and constants of the original."
    )
    learning_rate: float = Field(
        0.1,
        ge=-LARGEST_FACTOR,
        le=LARGEST_FACTOR,
        description="Fixed learning rate; negative: take the schedule file.",
    )
    learning_rate_schedule_file: Address | None = Field(
        None,
        description="Lines `epoch: rate`, used where learning_rate is negative.",
        json_schema_extra=PATH,
    )
    learning_rate_decay_epochs: int = Field(
        100,
        ge=1,
        le=LARGEST_COUNT,
        description="Epochs after which the rate is multiplied by the decay factor.",
    )
    learning_rate_decay_factor: float = Field(1.0, gt=0, le=1, description="That factor.")
    learning_rate_cosine: bool = Field(
        False, description="Let the rate fall to zero along half a cosine."
    )
    warmup_epochs: float = Field(
        0.0, ge=0, le=LARGEST_COUNT, description="Epochs in which the rate rises from zero."
    )
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
    random_cutout: int = Field(
        0, ge=0, le=2048, description="Side of a square that is blanked, pixels."
    )
    use_fixed_image_standardization: bool = Field(
        False, description="(x − 127.5)/128 instead of each image's own mean and deviation."
    )
    filter_min_nrof_images_per_class: int = Field(
        0, ge=0, le=LARGEST_COUNT, description="People with fewer images are left out."
    )
    filter_model: Address | None = Field(
        None,
        description="A finished model by which images far from their person's centre are found.",
        json_schema_extra=PATH,
    )
    filter_percentile: float = Field(
        100.0, gt=0, le=100, description="Keep this percentage of images, the nearest ones."
    )
    validation_set_split_ratio: float = Field(
        0.0, ge=0, lt=1, description="Share of each person's images held out of training."
    )
    min_nrof_val_images_per_class: int = Field(
        0, ge=0, le=LARGEST_COUNT, description="Of people with fewer images none are held out."
    )
    validate_every_n_epochs: int = Field(
        5,
        ge=1,
        le=LARGEST_COUNT,
        description="Epochs between looks at what is held out; the last is one.",
    )
    lfw_dir: Address | None = Field(
        None,
        description="Crops of other people, on whose pairs the model is measured on the way.",
        json_schema_extra=PATH,
    )
    lfw_pairs: Address = Field(
        AUTO_PAIRS, description="Their pairs, as `validate.pairs`.", json_schema_extra=PATH
    )
    lfw_nrof_folds: int = Field(10, ge=2, le=10_000, description="Folds, as for validate.")
    lfw_distance_metric: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="Distance, as for validate."
    )
    lfw_use_flipped_images: bool = Field(False, description="Mirror images, as for validate.")
    lfw_subtract_mean: bool = Field(False, description="Subtract the mean, as for validate.")
    lfw_every_n_epochs: int = Field(
        1, ge=1, le=LARGEST_COUNT, description="Epochs between these measurements; the last is one."
    )
    monitor: Literal["lfw_accuracy", "validation_accuracy"] = Field(
        "lfw_accuracy", description="What early stop and keep_best go by."
    )
    keep_best: bool = Field(
        False, description="The model is that of the best epoch; default: of the last."
    )
    early_stop: int | None = Field(
        None,
        ge=1,
        le=LARGEST_COUNT,
        description="Stop after so many measurements without a better one.",
    )
    mixed_precision: Literal["off", "bfloat16", "float16"] = Field(
        "off", description="Compute in half precision; weights and losses stay float32."
    )
    data_parallel: bool = Field(
        False,
        description="Share each batch between all GPUs of this host.",
        json_schema_extra=WHERE,
    )
    seed: Seed = Field(666, description="Seed of weights, order, crops and dropout.")
    checkpoint_every: int = Field(
        200,
        ge=1,
        le=LARGEST_COUNT,
        description="Steps between checkpoints.",
        json_schema_extra=WHERE,
    )
    checkpoints_kept: int = Field(
        3,
        ge=1,
        le=LARGEST_COUNT,
        description="Checkpoints kept, besides the best.",
        json_schema_extra=WHERE,
    )
    log_histograms: bool = Field(
        False, description="TensorBoard: histograms of all weights.", json_schema_extra=WHERE
    )
    nrof_preprocess_threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Decoding threads; default: the cores.",
        json_schema_extra=WHERE,
    )
    read_crops: Literal["auto", "cache", "stream"] = Field(
        "auto",
        description="From a local copy, in any order, or straight from storage, shuffled within "
        "windows; auto: the copy where it fits.",
    )
    crop_cache_gib: float = Field(
        100.0,
        gt=0,
        le=LARGEST_COUNT,
        description="The most that local copies of crops may take, GiB; the longest unused go.",
        json_schema_extra=WHERE,
    )
    gpu_memory_fraction: float = Field(
        1.0, gt=0, le=1, description="Upper bound on GPU memory.", json_schema_extra=WHERE
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
        if self.read_crops == "stream" and self.picks_people:
            what = "the triplet loss" if self.loss == "triplet" else "sampler: balanced"
            raise ValueError(
                f"read_crops: {what} picks images of people all over the data, which takes a local "
                "copy: set read_crops: cache, with crop_cache_gib and a disk (XDG_CACHE_HOME) "
                "that are large enough"
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
    def picks_people(self) -> bool:
        """Whether batches are made of chosen people's images, wherever those are."""
        return self.sampler == "balanced" or self.loss == "triplet"

    @property
    def watches(self) -> bool:
        """Whether figures on the way decide what the model will be."""
        return self.keep_best or self.early_stop is not None

    def unused(self) -> dict[str, str]:
        names: dict[str, str] = {}
        if self.loss not in ("arcface", "cosface"):
            names |= dict.fromkeys(("logit_scale", "logit_margin"), f"loss is {self.loss}")
        if self.loss != "triplet":
            names |= dict.fromkeys(_OF_TRIPLETS, f"loss is {self.loss}")
        if not self.center_loss_factor:
            names["center_loss_alfa"] = "center_loss_factor is 0"
        if not self.prelogits_norm_loss_factor:
            names["prelogits_norm_p"] = "prelogits_norm_loss_factor is 0"
        if self.learning_rate > 0:
            names["learning_rate_schedule_file"] = (
                f"learning_rate is {self.learning_rate:g}; a negative one asks for the schedule"
            )
        if self.learning_rate_decay_factor == 1:
            names["learning_rate_decay_epochs"] = "learning_rate_decay_factor is 1"
        if self.filter_percentile == 100:
            names["filter_model"] = "filter_percentile is 100, which keeps all images"
        if not self.validation_set_split_ratio:
            held_out = ("min_nrof_val_images_per_class", "validate_every_n_epochs")
            names |= dict.fromkeys(held_out, "validation_set_split_ratio is 0")
        if self.lfw_dir is None:
            pairs = (name for name in type(self).model_fields if name.startswith("lfw_"))
            names |= dict.fromkeys(pairs, "lfw_dir is missing")
        if not self.watches:
            names["monitor"] = "neither early_stop nor keep_best is set"
        return names

    def determining(self) -> dict[str, Any]:
        """Without what this loss does not use, and what only tells how training goes."""
        unused = set()
        if self.loss not in ("arcface", "cosface"):
            unused |= {"logit_scale", "logit_margin"}
        if self.loss != "triplet":
            unused |= set(_OF_TRIPLETS)
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
