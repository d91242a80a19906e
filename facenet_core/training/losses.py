"""Losses on prelogits [n, d] and logits [n, classes] in float32, and the selection of triplets."""

from __future__ import annotations

import math
from typing import Literal

import keras
import numpy as np
from keras import ops

from facenet_core.config import TrainConfig
from facenet_core.models.networks.layers import layer_seed
from facenet_core.models.preprocessing import Tensor
from facenet_core.training import optimizers


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy [n] of logits [n, classes] and labels int [n]."""
    return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def arcface_logits(cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """Logits [n, classes] with the margin added to the angle to the own class's direction.

    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition",
    https://arxiv.org/abs/1801.07698. Where the angle would pass π, its cosine goes on falling in a
    straight line, as in the authors' program.

    Args:
        cosines: float32 [n, classes], between embeddings and the classes' directions.
        labels: int [n].
        scale: s, what unit vectors are multiplied by.
        margin: m, radians.
    """
    # A little less than one: the sine's derivative is infinite there.
    inside = ops.clip(cosines, -1 + 1e-6, 1 - 1e-6)
    sines = ops.sqrt(1 - ops.square(inside))
    turned = inside * math.cos(margin) - sines * math.sin(margin)
    beyond = inside - margin * math.sin(margin)
    own = ops.where(inside > math.cos(math.pi - margin), turned, beyond)
    return scale * ops.where(_is_own(cosines, labels), own, cosines)


def cosface_logits(cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """Logits [n, classes] with the margin taken from the cosine to the own class's direction.

    Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition",
    https://arxiv.org/abs/1801.09414. Arguments as of `arcface_logits`; the margin is a cosine.
    """
    return scale * ops.where(_is_own(cosines, labels), cosines - margin, cosines)


def triplet_distances(prelogits: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances [n/3] of unit-length embeddings: anchor–positive and anchor–negative.

    Args:
        prelogits: float32 [n, d], anchor, positive and negative of each triplet in turn.
    """
    embeddings = unit_length(prelogits)
    anchor, positive, negative = (embeddings[offset::3] for offset in range(3))
    return squared_distances(anchor, positive), squared_distances(anchor, negative)


def triplet_loss(positive: Tensor, negative: Tensor, alpha: float) -> Tensor:
    """max(0, positive − negative + alpha) [t], of squared distances [t].

    Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering",
    https://arxiv.org/abs/1503.03832.
    """
    return ops.maximum(positive - negative + alpha, 0.0)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances [n] of rows [n, d]."""
    return ops.sum(ops.square(a - b), axis=1)


def unit_length(x: Tensor) -> Tensor:
    """Rows [n, d] scaled to length 1, as TensorFlow's `l2_normalize` with epsilon 1e-10."""
    squared = ops.sum(ops.square(x), axis=1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squared, 1e-10))


def center_loss(prelogits: Tensor, centers: Tensor) -> Tensor:
    """Mean of squared differences to the images' own centers, over batch and dimensions.

    Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", 2016, as
    davidsandberg/facenet scales it. Differences are to the centers before `moved_centers`.

    Args:
        prelogits: float32 [n, d].
        centers: float32 [n, d], of each image's class.
    """
    return ops.mean(ops.square(prelogits - ops.stop_gradient(centers)))


def moved_centers(prelogits: Tensor, labels: Tensor, centers: Tensor, alfa: float) -> Tensor:
    """The images' own centers [n, d] after a batch: each pulls its own (1 − alfa) of the way.

    Pulls of several images of one class add up. This rule alone moves the centers; in the original
    the optimizer moved them too, by the center loss's gradient (davidsandberg/facenet #1114).
    """
    pulls = (1 - alfa) * (ops.stop_gradient(prelogits) - centers)
    # Each row gets the sum of its class: repeated labels then have equal values.
    same_class = ops.cast(ops.equal(labels[:, None], labels[None, :]), pulls.dtype)
    return centers + ops.matmul(same_class, pulls)


def prelogits_norm(prelogits: Tensor, p: float) -> Tensor:
    """Mean over the batch of the p-norm of |x| + 0.0001; the term keeps its gradient finite."""
    return ops.mean(ops.sum((ops.abs(prelogits) + 1e-4) ** p, axis=1) ** (1 / p))


def teacher_loss(prelogits: Tensor, teacher: Tensor) -> Tensor:
    """Cosine distance [n] between embeddings and the teacher's of the same images.

    Half the squared distance of vectors of unit length: what a student learns from its teacher in
    Duong et al., "ShrinkTeaNet: Million-scale Lightweight Face Recognition via Shrinking
    Teacher-Student Networks", https://arxiv.org/abs/1905.10620, without their margin.

    Args:
        prelogits: float32 [n, d].
        teacher: float32 [n, d] of unit length.
    """
    return 1 - ops.sum(unit_length(prelogits) * teacher, axis=1)


# Of cosines to the teacher's embeddings, of the teacher and of its student.
_RELATION_TEMPERATURE = 0.1


def relation_loss(prelogits: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """How differently student and teacher relate each image to all of the batch, [n].

    The cross-entropy between the softmax of the teacher's cosines to its embeddings of the batch
    and that of the student's cosines to the same ones: Fang et al., "SEED: Self-supervised
    Distillation for Visual Representation", https://arxiv.org/abs/2101.04731, with the batch for
    their queue of earlier images.

    Args:
        prelogits: float32 [n, d].
        teacher: float32 [n, d] of unit length.
        weight: float32 [n]; images of weight 0 take no part.
    """

    def log_shares(embeddings: Tensor) -> Tensor:
        cosines = ops.matmul(embeddings, ops.transpose(teacher))
        return ops.log_softmax(ops.where(weight > 0, cosines, -1e9) / _RELATION_TEMPERATURE)

    wanted = ops.exp(log_shares(teacher))
    return -ops.sum(wanted * log_shares(unit_length(prelogits)), axis=1)


def _is_own(logits: Tensor, labels: Tensor) -> Tensor:
    """Bool [n, classes]: true at each row's label."""
    return ops.equal(ops.arange(logits.shape[1]), ops.cast(labels, "int32")[:, None])


# Radians and a cosine, the authors' choices.
_MARGINS = {"arcface": 0.5, "cosface": 0.35}


def build_projection(teacher_size: int | None, config: TrainConfig) -> keras.layers.Layer | None:
    """The layer from prelogits [n, embedding_size] to the teacher's space [n, teacher_size].

    At first it keeps angles as well as it can. None where both are of one size: then embeddings
    can be compared with the teacher's.
    """
    if teacher_size in (None, config.embedding_size):
        return None
    start = keras.initializers.Orthogonal(seed=layer_seed(config.seed, "Projection"))
    options = {"use_bias": False, "kernel_initializer": start, "name": "Projection"}
    layer = keras.layers.Dense(teacher_size, dtype="float32", **options)
    layer.build((None, config.embedding_size))
    return layer


def penalty(config: TrainConfig) -> float:
    """The weight decay that is part of the loss."""
    return 0.0 if config.optimizer in optimizers.DECOUPLED else config.weight_decay


def margin(config: TrainConfig) -> float:
    """m of ArcFace or CosFace."""
    return _MARGINS[config.loss] if config.logit_margin is None else config.logit_margin


def classification_loss(outputs: Tensor, labels: Tensor, config: TrainConfig) -> Tensor:
    """Loss [n] of a classifier's outputs [n, classes] and labels int [n]."""
    if config.loss == "arcface":
        outputs = arcface_logits(outputs, labels, config.logit_scale, margin(config))
    elif config.loss == "cosface":
        outputs = cosface_logits(outputs, labels, config.logit_scale, margin(config))
    return cross_entropy(outputs, labels)


TripletSelection = Literal["violating", "semi_hard"]


def select_triplets(
    embeddings: np.ndarray,
    labels: np.ndarray,
    alpha: float,
    selection: TripletSelection,
    seed: list[int],
) -> np.ndarray:
    """Triplets int64 [t, 3] of row numbers, in random order.

    Each two images of a person are an anchor and a positive; the negative is one, drawn at random,
    of the images of others that lie nearer to the anchor than the positive does plus `alpha`. Pairs
    for which there is none give no triplet.

    Args:
        embeddings: float [n, d] of unit length.
        labels: int [n].
        alpha: the margin between squared distances.
        selection: `violating`, any of them, as davidsandberg/facenet chooses (after VGG Face), or
            `semi_hard`, only those farther than the positive, as FaceNet describes.
        seed: of the drawing.
    """
    random = np.random.default_rng(seed)
    distances = np.maximum(2 - 2 * (embeddings @ embeddings.T), 0)
    triplets = [np.empty((0, 3), np.int64)]
    for anchor in range(len(labels)):
        others = labels != labels[anchor]
        positives = np.flatnonzero(~others)
        positives = positives[positives > anchor]
        to_positive = distances[anchor, positives][:, None]
        fits = others & (distances[anchor] - to_positive < alpha)
        if selection == "semi_hard":
            fits &= to_positive < distances[anchor]
        counts = fits.sum(axis=1)
        # The k-th that fits, k drawn for each positive whether or not there is any.
        k = np.floor(random.random(len(positives)) * counts).astype(int)
        negatives = np.argmax(np.cumsum(fits, axis=1) > k[:, None], axis=1)
        some = counts > 0
        rows = [np.full(some.sum(), anchor), positives[some], negatives[some]]
        triplets.append(np.stack(rows, axis=1))
    return random.permutation(np.concatenate(triplets))
