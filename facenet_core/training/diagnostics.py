"""What to do about a loss that is no longer finite, and about settings that lead there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facenet_core.config import TrainConfig
from facenet_core.training.input.people import Selection


def advice(broken: Sequence[str], selection: Selection, config: TrainConfig) -> str:
    """Which metrics broke and which settings to change, the likeliest first."""
    if "center_loss" in broken and (warning := center_warning(selection, config)):
        return f"{', '.join(broken)}. {warning}"
    return (
        f"{', '.join(broken)}: training diverged. Lower the learning rate first; "
        "center_loss_factor and weight_decay come next, and few images a batch make batch norm "
        "unsteady"
    )


def center_warning(selection: Selection, config: TrainConfig) -> str | None:
    """A word on centers that cannot settle, or None where they can.

    k images of a class in a batch move its center by k · (1 − alfa) of the way to their mean; from
    twice the way on it overshoots farther each time, and the center loss grows without end
    (davidsandberg/facenet #1028).
    """
    if not config.center_loss_factor:
        return None
    labels = selection.labels[selection.training]
    sizes = np.bincount(labels, minlength=len(selection.identities))
    share = 1 / len(sizes) if config.sampler == "balanced" else sizes.max() / sizes.sum()
    images = config.batch_size * share
    if images * (1 - config.center_loss_alfa) < 2:
        return None
    alfa = 1 - 1 / images
    return (
        f"center_loss_alfa {config.center_loss_alfa:g} is too low for {len(sizes)} people: of one "
        f"of them {images:.0f} images are in a batch, and each moves the center by "
        f"{1 - config.center_loss_alfa:.2g} of its way, so that centers overshoot farther and "
        f"farther. Set center_loss_alfa to {alfa:.3f} or more, or train on more people"
    )
