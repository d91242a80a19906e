"""Models as people name them: by URI, by reference, by name of the catalogue, from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facenet_core.housekeeping.promotion import resolve
from facenet_core.models.import_model import bring_in
from tasks.prefect.progress import progress, transfer


def bring_model(root: str, reference: str, run: Mapping[str, Any]) -> str:
    """The URI of the artifact of a model, which is fetched and imported where it has to be.

    Raises:
        ArtifactError, ModelError: there is none, or it cannot be had.
    """
    with transfer(progress) as report:
        return bring_in(root, resolve(root, reference, "train", report), run)
