"""Configuration of the train stage."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from facenet_core.config.audit import FindingKind
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

_OF_TEACHERS = ("teacher_factor", "teacher_relation_factor", "teacher_mixes")
_OF_TRIPLETS = ("alpha", "people_per_batch", "images_per_person", "triplet_selection")


class TrainConfig(Config):
    """Crops into a face-embedding model."""

    name: Name | None = Field(
        None, description="Name of the model. The default is the name of the data set."
    )
    resume: Address | None = Field(
        None,
        description="A finished model to train further, with its optimizer, centers and "
        "classifier. Fields that are not set keep that model's values.",
        json_schema_extra=PATH,
    )
    pretrained_model: Address | None = Field(
        None,
        description="A finished model whose weights training starts from (`--from` for short).",
        json_schema_extra={**PATH, "option": "--from"},
    )
    freeze: tuple[str, ...] = Field(
        (),
        description="Layers that are not trained, as patterns of their names (Conv2d_*, Repeat.*).",
    )
    model_def: str = Field(
        "squeezenet",
        description="Network: squeezenet, inception_resnet_v1, inception_resnet_v2 or "
        "module:function.",
    )
    embedding_size: int = Field(
        128, ge=2, le=2**14, description="Number of dimensions of the embedding."
    )
    image_size: int = Field(
        160,
        ge=32,
        le=2048,
        description="Side of the network's square input, in pixels. Larger crops are cropped to "
        "it.",
    )
    batch_size: int = Field(90, ge=2, le=65_536, description="Number of images in a batch.")
    max_nrof_epochs: int = Field(
        500, ge=1, le=LARGEST_COUNT, description="Number of epochs to train."
    )
    epoch_size: int | None = Field(
        1000,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of batches in an epoch. null makes an epoch one pass over the data.",
    )
    sampler: Literal["shuffle", "balanced"] = Field(
        "shuffle",
        description="How images are sampled: `shuffle` draws each image equally often, `balanced` "
        "each person.",
    )
    keep_probability: Probability = Field(
        1.0,
        description="Probability that dropout keeps a unit before the embedding. 1 is no dropout.",
    )
    weight_decay: float = Field(
        0.0, ge=0, le=LARGEST_FACTOR, description="Weight of the L2 regularisation of the kernels."
    )
    loss: Literal["softmax", "triplet", "arcface", "cosface", "none"] = Field(
        "softmax",
        description="Loss function on who is on the images. `none` takes no notice of it: the "
        "network learns from its teacher alone.",
    )
    teacher: Address | None = Field(
        None,
        description="A model whose embeddings the network learns to give (distillation), or "
        "embeddings by it of the same photographs.",
        json_schema_extra=PATH,
    )
    teacher_factor: float = Field(
        1.0,
        ge=0,
        le=LARGEST_FACTOR,
        description="Weight of the mean cosine distance between the network's embeddings and the "
        "teacher's.",
    )
    teacher_relation_factor: float = Field(
        0.0,
        ge=0,
        le=LARGEST_FACTOR,
        description="Weight of the difference between how network and teacher relate each image to "
        "the others of its batch.",
    )
    teacher_mixes: int = Field(
        0,
        ge=0,
        le=LARGEST_COUNT,
        description="With loss none: number of images mixed of two photographs each that the "
        "network is trained on, too. The teacher embeds them as training begins.",
    )
    logit_scale: float = Field(
        64.0,
        gt=0,
        le=LARGEST_FACTOR,
        description="ArcFace and CosFace losses: scale s of the logits.",
    )
    logit_margin: float | None = Field(
        None,
        ge=0,
        lt=1.5,
        description="ArcFace and CosFace losses: margin m. The default is 0.5 radians for ArcFace "
        "and 0.35 for CosFace.",
    )
    alpha: float = Field(
        0.2, gt=0, le=LARGEST_FACTOR, description="Triplet loss: margin between squared distances."
    )
    people_per_batch: int = Field(
        45,
        ge=2,
        le=LARGEST_COUNT,
        description="Triplet loss: number of people from whose images triplets are selected.",
    )
    images_per_person: int = Field(
        40, ge=2, le=LARGEST_COUNT, description="Triplet loss: most images of each person."
    )
    triplet_selection: Literal["violating", "semi_hard"] = Field(
        "violating",
        description="Triplet loss: which negatives are selected. `violating` takes those within "
        "the margin; `semi_hard` only those that are also farther away than the positive.",
    )
    center_loss_factor: float = Field(
        0.0, ge=0, le=LARGEST_FACTOR, description="Weight λ of the center loss. 0 turns it off."
    )
    center_loss_alfa: float = Field(
        0.95,
        ge=0,
        le=1,
        description="Center loss: share of its position that a center keeps in each batch.",
    )
    prelogits_norm_loss_factor: float = Field(
        0.0,
        ge=0,
        le=LARGEST_FACTOR,
        description="Weight of the loss on the mean p-norm of the embeddings before normalisation.",
    )
    prelogits_norm_p: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="Exponent p of the norm that prelogits_norm_loss_factor weighs.",
    )
    optimizer: Literal["adagrad", "adadelta", "adam", "rmsprop", "momentum", "adamw"] = Field(
        "adagrad",
        description="Optimizer, with the update rule and constants of the original facenet.",
    )
    learning_rate: float = Field(
        0.1,
        ge=-LARGEST_FACTOR,
        le=LARGEST_FACTOR,
        description="Fixed learning rate. If it is negative, learning_rate_schedule_file is used.",
    )
    learning_rate_schedule_file: Address | None = Field(
        None,
        description="File with lines `epoch: rate`, used if learning_rate is negative. Where there "
        "is none, that of this name among those of the package: casia.txt, demo.txt, real.txt.",
        json_schema_extra=PATH,
    )
    learning_rate_decay_epochs: int = Field(
        100,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of epochs after which the learning rate is multiplied by "
        "learning_rate_decay_factor.",
    )
    learning_rate_decay_factor: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor that multiplies the learning rate every learning_rate_decay_epochs.",
    )
    learning_rate_cosine: bool = Field(
        False, description="Decrease the learning rate to zero along half a cosine."
    )
    warmup_epochs: float = Field(
        0.0,
        ge=0,
        le=LARGEST_COUNT,
        description="Number of epochs in which the learning rate rises from zero.",
    )
    moving_average_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay of the exponential moving average of the weights. 0 turns it off.",
    )
    batch_norm_decay: float = Field(
        0.995, ge=0, lt=1, description="Decay of batch normalisation's running averages."
    )
    random_rotate: bool = Field(
        False, description="Rotate training images at random by up to 10° either way."
    )
    random_crop: bool = Field(
        False,
        description="Crop training images at random positions. By default the centre is cropped.",
    )
    random_flip: bool = Field(False, description="Mirror half of the training images at random.")
    random_brightness: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Brighten or darken training images at random by up to this share of the "
        "pixel range.",
    )
    random_contrast: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Change the contrast of training images at random by up to this share.",
    )
    random_cutout: int = Field(
        0,
        ge=0,
        le=2048,
        description="Side, in pixels, of a square that is blanked at random in training images. 0 "
        "turns it off.",
    )
    use_fixed_image_standardization: bool = Field(
        False,
        description="Standardise pixels as (x − 127.5)/128. By default each image's own mean and "
        "standard deviation are used.",
    )
    filter_min_nrof_images_per_class: int = Field(
        0, ge=0, le=LARGEST_COUNT, description="Leave out people with fewer images than this."
    )
    audit: Address | None = Field(
        None,
        description="A finished audit of these crops. Images with findings of the kinds in `drop` "
        "are left out of training.",
        json_schema_extra=PATH,
    )
    drop: tuple[FindingKind, ...] = Field(
        get_args(FindingKind),
        description="Kinds of findings whose images are left out: duplicate, wrong_label, "
        "mixed_identity, split_identity, no_face, leak.",
    )
    filter_model: Address | None = Field(
        None,
        description="A finished model that measures how far images are from their person's "
        "center, for filter_percentile.",
        json_schema_extra=PATH,
    )
    filter_percentile: float = Field(
        100.0,
        gt=0,
        le=100,
        description="Percentage of images to train on, those nearest to their person's center. "
        "100 leaves none out.",
    )
    validation_set_split_ratio: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of each person's images that is held out of training for validation.",
    )
    min_nrof_val_images_per_class: int = Field(
        0,
        ge=0,
        le=LARGEST_COUNT,
        description="Hold out no images of people with fewer images than this.",
    )
    validate_every_n_epochs: int = Field(
        5,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of epochs between validations on the held-out images. The last epoch "
        "is always validated.",
    )
    lfw_dir: Address | None = Field(
        None,
        description="Crops of other people. During training the model is measured on pairs of "
        "them.",
        json_schema_extra=PATH,
    )
    lfw_pairs: Address = Field(
        AUTO_PAIRS,
        description="Pairs of the crops in lfw_dir: a pairs file, `generate` or `auto`, as in "
        "`validate.pairs`.",
        json_schema_extra=PATH,
    )
    lfw_nrof_folds: int = Field(
        10,
        ge=2,
        le=10_000,
        description="Number of cross-validation folds of the measurements on lfw_dir.",
    )
    lfw_distance_metric: Literal["euclidean", "cosine"] = Field(
        "euclidean",
        description="Distance between embeddings in the measurements on lfw_dir: squared "
        "Euclidean distance, or cosine distance as angle/π.",
    )
    lfw_use_flipped_images: bool = Field(
        False,
        description="In the measurements on lfw_dir, concatenate the embedding of the mirrored "
        "image to each embedding.",
    )
    lfw_subtract_mean: bool = Field(
        False,
        description="In the measurements on lfw_dir, subtract the mean embedding of the training "
        "folds.",
    )
    lfw_every_n_epochs: int = Field(
        1,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of epochs between measurements on lfw_dir. The last epoch is always "
        "measured.",
    )
    monitor: Literal["lfw_accuracy", "validation_accuracy"] = Field(
        "lfw_accuracy", description="Metric that early_stop and keep_best use."
    )
    keep_best: bool = Field(
        False,
        description="Keep the model of the best epoch, as measured by `monitor`. By default the "
        "model of the last epoch is kept.",
    )
    early_stop: int | None = Field(
        None,
        ge=1,
        le=LARGEST_COUNT,
        description="Stop training after this many measurements of `monitor` without an "
        "improvement.",
    )
    mixed_precision: Literal["off", "bfloat16", "float16"] = Field(
        "off", description="Half-precision format to compute in. Weights and losses stay float32."
    )
    classifier_sample_rate: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the other people that the images of a step are told from (partial "
        "FC), for very many people. 1 takes all.",
    )
    classifier_sharding: bool = Field(
        False,
        description="Divide the classifier and the centers between the devices of a training "
        "instead of having them whole on each.",
        json_schema_extra=WHERE,
    )
    data_parallel: bool = Field(
        False,
        description="Split each batch between all GPUs of this host. Takes KERAS_BACKEND=jax.",
        json_schema_extra=WHERE,
    )
    seed: Seed = Field(
        666,
        description="Random seed of the weights, the order of images, augmentation and dropout.",
    )
    checkpoint_every: int = Field(
        200,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of steps between checkpoints.",
        json_schema_extra=WHERE,
    )
    checkpoints_kept: int = Field(
        3,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of checkpoints to keep, besides the best one.",
        json_schema_extra=WHERE,
    )
    log_histograms: bool = Field(
        False,
        description="Write histograms of all weights for TensorBoard.",
        json_schema_extra=WHERE,
    )
    nrof_preprocess_threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Number of threads that decode images. The default is the number of CPU cores.",
        json_schema_extra=WHERE,
    )
    read_crops: Literal["auto", "cache", "stream"] = Field(
        "auto",
        description="How crops are read. `cache` copies them to the local disk and reads in any "
        "order; `stream` reads from storage and shuffles within windows; `auto` takes the copy if "
        "it fits.",
    )
    crop_cache_gib: float = Field(
        100.0,
        gt=0,
        le=LARGEST_COUNT,
        description="Most disk space for local copies of crops, in GiB. The least recently used "
        "copies are deleted first.",
        json_schema_extra=WHERE,
    )
    gpu_memory_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Largest share of the GPU's memory to use.",
        json_schema_extra=WHERE,
    )

    @field_validator("optimizer", mode="before")
    @classmethod
    def _as_the_original_writes_optimizers(cls, value: Any) -> Any:
        """`RMSPROP` is rmsprop, `MOM` is momentum."""
        name = value.lower() if isinstance(value, str) else value
        return "momentum" if name == "mom" else name

    @field_validator("model_def")
    @classmethod
    def _as_the_original_writes_networks(cls, value: str) -> str:
        """`models.squeezenet` is squeezenet."""
        return value.removeprefix("models.") if ":" not in value else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.resume is not None and self.pretrained_model is not None:
            raise ValueError("give either resume or pretrained_model (--from), not both")
        if self.loss == "triplet" and self.batch_size % 3:
            raise ValueError(f"batch_size {self.batch_size}: triplets need a multiple of 3")
        if not self.classifies:
            if self.classifier_sample_rate < 1:
                raise ValueError(f"classifier_sample_rate: loss: {self.loss} has no classifier")
            if self.center_loss_factor:
                raise ValueError(f"center_loss_factor: loss: {self.loss} knows no classes")
            if self.validation_set_split_ratio:
                raise ValueError(
                    f"validation_set_split_ratio: loss: {self.loss} has no classifier to "
                    "validate; measure on other people with lfw_dir"
                )
        factors = self.teacher_factor or self.teacher_relation_factor
        taught = self.resume is not None or (self.teacher is not None and factors)
        if self.loss == "none" and not taught:
            raise ValueError(
                "loss: none leaves nothing to learn from; set teacher, and a teacher_factor above 0"
            )
        if self.teacher_mixes and self.loss != "none":
            raise ValueError(
                f"teacher_mixes: a mixed image shows nobody whom loss: {self.loss} could tell; set "
                "loss: none"
            )
        if self.read_crops == "stream" and self.reads_at_random:
            what = "the triplet loss" if self.loss == "triplet" else "sampler: balanced"
            what = "teacher_mixes" if self.teacher_mixes else what
            raise ValueError(
                f"read_crops: {what} picks images all over the data, which takes a local "
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
    def classifies(self) -> bool:
        """Whether the loss is one of a classifier of people."""
        return self.loss not in ("triplet", "none")

    @property
    def reads_at_random(self) -> bool:
        """Whether batches are made of chosen images, wherever those are."""
        return self.sampler == "balanced" or self.loss == "triplet" or self.teacher_mixes > 0

    @property
    def has_relations(self) -> bool:
        """Whether the teacher's relations between images are learnt, too."""
        return self.teacher is not None and self.teacher_relation_factor > 0

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
        if self.teacher is None:
            names |= dict.fromkeys(_OF_TEACHERS, "teacher is missing")
        if self.audit is None:
            names["drop"] = "audit is missing"
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
        unused = {"audit", "drop"} if self.audit is None else set()
        if self.teacher is None:
            unused |= {"teacher", *_OF_TEACHERS}
        unused |= {
            name for name in ("teacher_relation_factor", "teacher_mixes") if not getattr(self, name)
        }
        if self.classifier_sample_rate == 1:
            unused |= {"classifier_sample_rate"}
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
