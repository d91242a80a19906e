"""What `facenet export` writes beside a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from facenet_core.config import AlignConfig
from facenet_core.recognition.threshold import METRIC, Threshold
from flows.cli.commands.export import _metadata


def test_the_threshold_of_a_validated_model_goes_along() -> None:
    decision = Threshold(0.9, use_flipped_images=True)
    metadata = _metadata(cast(Any, SimpleNamespace(alignment=AlignConfig(), decision=decision)))
    assert metadata["threshold"] == 0.9
    assert metadata["distance"] == METRIC
    assert metadata["use_flipped_images"] is True
