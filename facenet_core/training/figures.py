"""The figures of training steps: sums over images, whose means people look at."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class Figures:
    """Sums over images.

    `loss` is the whole: cross-entropy or triplet loss + weight decay + λ · center loss + λ · the
    norm of prelogits. `accuracy` is the share of images that are told right or, of triplets, whose
    positive is nearer than the negative. `embedding_norm` is the length of prelogits.
    """

    images: float = 0.0
    loss: float = 0.0
    cross_entropy: float = 0.0
    triplet_loss: float = 0.0
    center_loss: float = 0.0
    prelogits_norm_loss: float = 0.0
    weight_decay: float = 0.0
    accuracy: float = 0.0
    embedding_norm: float = 0.0

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        return astuple(self)

    def means(self) -> dict[str, float]:
        """Mean over the images of each figure but their number."""
        return {name: getattr(self, name) / self.images for name in NAMES}

    def not_finite(self) -> list[str]:
        """Names of figures that are infinite or no number."""
        return [name for name in NAMES if not math.isfinite(getattr(self, name))]


NAMES = tuple(field.name for field in fields(Figures) if field.name != "images")
# Which of them a loss does not have.
ABSENT = {"triplet": {"cross_entropy", "center_loss"}}


def shown(means: dict[str, float], loss: str) -> dict[str, float | None]:
    """Mean figures with None for those that a loss does not have."""
    absent = ABSENT.get(loss, {"triplet_loss"})
    return {name: None if name in absent else value for name, value in means.items()}
