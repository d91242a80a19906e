"""How the face crops of a model are made: of which size, with which margin."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from facenet_core import config, storage
from facenet_core.config import AlignConfig
from facenet_core.models.import_model import artifact_of
from facenet_core.storage import Manifest

logger = logging.getLogger(__name__)

# Fields that say what a crop looks like; what ran the detector may not be installed here.
_CROPPING = {
    *("image_size", "crop", "margin", "minsize", "thresholds", "factor", "exif"),
    "tolerate_truncated",
}


def alignment_of(
    model_uri: str, image_size: int = 160, reports: Sequence[Manifest] = ()
) -> AlignConfig:
    """How photographs are cropped for a model: as those of its last validation were.

    Where it was not validated, as its manifest says of a model from elsewhere (`alignment`); else
    as those that it was trained on; where that is not known either, by the original's rules for
    LFW.

    Args:
        model_uri: a model, of whatever kind.
        image_size: side of its input, pixels, where its manifest does not say.
        reports: of its validations, the last one first.

    Raises:
        ConfigError: its manifest names an alignment that there is not.
    """
    if as_validated := _alignment_of_inputs(reports):
        return as_validated
    uri = artifact_of(model_uri)
    model = storage.read_manifest(uri)
    if model is None:
        return AlignConfig(image_size=image_size)
    image_size = model.details.get("image_size", image_size)
    if stated := model.details.get("alignment"):
        values = {"image_size": image_size, **stated}
        return config.build(AlignConfig, values, f"{uri}: its alignment")
    return _alignment_of_inputs([model]) or AlignConfig(image_size=image_size)


def made_alike(made: Mapping[str, Any], alignment: AlignConfig) -> bool:
    """Whether crops whose manifest has this configuration look as an alignment would make them."""
    wanted = alignment.model_dump(mode="json", include=_CROPPING)
    return all(made.get(name, value) == value for name, value in wanted.items())


def warn_of_overrides(uri: str, crops: Manifest, overrides: AlignConfig) -> None:
    """Log each field that is set and contradicts how the crops of a finished artifact were made."""
    for name, value in overrides.model_dump(mode="json", exclude_unset=True).items():
        if crops.config.get(name, value) != value:
            logger.warning(
                "%s: %s has no effect: %s are crops already, made with %s",
                *(name, value, uri, crops.config[name]),
            )


def _alignment_of_inputs(made_of_crops: Sequence[Manifest]) -> AlignConfig | None:
    """How the crops were made that the first of these was made of, as far as they are there."""
    for manifest in made_of_crops:
        crops = storage.read_manifest(manifest.inputs[0].uri) if manifest.inputs else None
        if crops is not None and crops.stage == "align" and "image_size" in crops.config:
            settings = {name: crops.config[name] for name in _CROPPING & set(crops.config)}
            return AlignConfig(**settings)
    return None
