"""Losses on prelogits [n, d] and logits [n, classes], in keras.ops."""

from __future__ import annotations

from typing import Any

from keras import ops


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Softmax cross-entropy [n] of logits [n, classes] and labels int [n]."""
    return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def center_loss(prelogits: Any, labels: Any, centers: Any) -> Any:
    """Mean of squared differences to the centers of their classes, over batch and dimensions.

    Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", 2016, as
    davidsandberg/facenet scales it. Differences are to the centers before `moved_centers`.

    Args:
        prelogits: float32 [n, d].
        labels: int [n].
        centers: float32 [classes, d].
    """
    own = ops.stop_gradient(ops.take(centers, labels, axis=0))
    return ops.mean(ops.square(prelogits - own))


def moved_centers(prelogits: Any, labels: Any, centers: Any, alfa: float) -> Any:
    """The centers [classes, d] after a batch: each image pulls its own by (1 − alfa) of the way.

    Pulls of several images of one class add up. This rule alone moves the centers; in the original
    the optimizer moved them too, by the center loss's gradient (davidsandberg/facenet #1114).
    """
    own = ops.take(centers, labels, axis=0)
    pulls = (1 - alfa) * (ops.stop_gradient(prelogits) - own)
    # Each row gets the sum of its class: repeated labels then write equal values, in any order.
    same_class = ops.cast(ops.equal(labels[:, None], labels[None, :]), pulls.dtype)
    moved = own + ops.matmul(same_class, pulls)
    return ops.scatter_update(centers, ops.cast(labels, "int32")[:, None], moved)


def prelogits_norm(prelogits: Any, p: float) -> Any:
    """Mean over the batch of the p-norm of |x| + 0.0001; the term keeps its gradient finite."""
    return ops.mean(ops.sum((ops.abs(prelogits) + 1e-4) ** p, axis=1) ** (1 / p))
