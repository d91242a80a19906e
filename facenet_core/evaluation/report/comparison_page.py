"""The page of a comparison: both curves, the differences, and whether they are luck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from facenet_core import storage
from facenet_core.evaluation.protocol.verification import Verification
from facenet_core.evaluation.report import page, plots
from facenet_core.storage import Plan

_TITLES = {"accuracy": "Accuracy", "val_rate": "VAL", "auc": "AUC", "eer": "EER"}


def render(
    plan: Plan,
    figures: Mapping[str, Any],
    first: Verification,
    second: Verification,
    same: np.ndarray,
) -> str:
    """The page as HTML; every name in it is escaped."""
    found = figures["comparison"]
    names = found["models"]
    curves = list(zip(names, (first.roc, second.roc), strict=True))
    drawing = plots.roc_drawing(curves, int((~same).sum()), figures["far_target"])
    return page.template("comparison.html.j2").render(
        plan=plan,
        metrics=figures,
        names=names,
        titles=_TITLES,
        roc=page.svg(drawing, "ROC curves"),
        made_by=storage.made_by(),
    )
