"""Published models by name: what is known of each, and bringing it into a storage root, once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from facenet_core import storage
from facenet_core.config import AlignConfig, Config
from facenet_core.errors import ModelError
from facenet_core.extras import require_keras
from facenet_core.fetch.catalogue import CatalogueFile, read_entries
from facenet_core.fetch.download import DownloadError, fetch
from facenet_core.fetch.partial_file import stored
from facenet_core.fetch.wanted import DOWNLOADS, Wanted
from facenet_core.progress import Progress, silent
from facenet_core.storage import STAGE_FOLDERS

if TYPE_CHECKING:
    from facenet_core.models.formats.weights import ImportOptions

_FOLDER = "models"  # of the downloads


class CatalogueModel(Config):
    """A published model."""

    title: str = Field(description="Whose model it is, and of what.")
    network: str = Field(description="See `train.model_def`.")
    dimensions: int = Field(ge=1, le=2**14, description="Of an embedding.")
    fixed_image_standardization: bool = Field(
        description="Whether pixels become (x − 127.5)/128, or are standardised image by image."
    )
    alignment: AlignConfig = Field(
        AlignConfig(image_size=160, margin=32), description="How crops for it are made."
    )
    trained_on: str = Field(description="The photographs that it was trained on.")
    accuracy: float | None = Field(None, gt=0, le=1, description="On LFW, as its makers state it.")
    licence: str = Field("", description="What it may be used for, as far as that is known.")
    home: str = Field("", description="The page of its makers.")
    obtain: str = Field(description="Where no address gives it: what to obtain, from whom.")
    files: tuple[CatalogueFile, ...] = Field(
        min_length=1, description="Its weights in several forms, in the order to try."
    )


def read_models(own: str | None = None) -> dict[str, CatalogueModel]:
    """Read all models, by name.

    Args:
        own: a file with models of a site, which replace those of the same name; default:
            $FACENET_MODEL_CATALOGUE.

    Raises:
        ConfigError: a file is missing or an entry is malformed; the message names the field.
    """
    own = own or os.environ.get("FACENET_MODEL_CATALOGUE")
    return read_entries(CatalogueModel, __package__ or __name__, own)


def locate(root: str, reference: str, progress: Progress = silent) -> str:
    """The URI of the artifact of a model that is named; anything else is returned as it is.

    A name of the catalogue, or the name of one of its files, is a model that is fetched and
    imported where that was not done before. What exists under the name takes precedence.

    Args:
        root: the storage root, where it belongs.
        progress: called with the number of bytes of the file that is fetched.

    Raises:
        ModelError: no address gives it, it is damaged, or there is no such name but a similar one.
    """
    entry = find(reference)
    return reference if entry is None else _bring(root, *entry, progress)


def find(reference: str) -> tuple[str, CatalogueModel, Sequence[CatalogueFile]] | None:
    """The model that is named, by its name, and the files that may stand for it; None: no name.

    Raises:
        ModelError: there is no such name, but a similar one.
    """
    if "/" in reference or ":" in reference or storage.exists(reference):
        return None
    models = read_models()
    if reference in models:
        return reference, models[reference], models[reference].files
    for name, model in models.items():
        if files := [file for file in model.files if file.name == reference]:
            return name, model, files
    names = [*models, *(file.name for model in models.values() for file in model.files)]
    if nearest := difflib.get_close_matches(reference, names, n=3, cutoff=0.75):
        raise ModelError(
            f"{reference}: no such file or folder, and no model of that name; did you mean "
            f"{' or '.join(nearest)}? `facenet models` lists them"
        )
    return None


def _bring(
    root: str,
    name: str,
    model: CatalogueModel,
    files: Sequence[CatalogueFile],
    progress: Progress,
) -> str:
    from facenet_core.models.formats.weights import ImportOptions, import_model, plan_import

    options = ImportOptions(
        image_size=model.alignment.image_size,
        use_fixed_image_standardization=model.fixed_image_standardization,
        alignment=_explicit(model.alignment),
        catalogue=name,
    )
    if (uri := _imported(root, name, options, files)) is not None:
        return uri
    require_keras(f"Importing {name}")  # before a download that would be in vain
    uri = _file(storage.join(root, DOWNLOADS, _FOLDER, name), model, files, progress)
    plan = plan_import(root, uri, options, name)
    if storage.finished(plan) is None:
        storage.check_writable(root)
        import_model(plan, uri, options, {})
    return plan.uri


def _explicit(alignment: AlignConfig) -> Mapping[str, Any]:
    return {name: getattr(alignment, name) for name in ("image_size", "crop", "margin")}


def _imported(
    root: str, name: str, options: ImportOptions, files: Sequence[CatalogueFile]
) -> str | None:
    """The model where one of these files was imported before, even if the file is gone since."""
    folder = storage.join(root, STAGE_FOLDERS["train"], name)
    for entry in storage.entries(folder):
        manifest = storage.read_manifest(storage.join(folder, entry.name))
        if manifest is None or manifest.details.get("catalogue") != name:
            continue
        origin = manifest.details["imported_from"]["files"]
        if (
            manifest.config.get("alignment") == dict(options.alignment)
            and manifest.config["use_fixed_image_standardization"]
            == options.use_fixed_image_standardization
            and any(f.name in origin and f.sha256 in (None, origin[f.name]) for f in files)
        ):
            return storage.join(folder, entry.name)
    return None


def _file(
    folder: str, model: CatalogueModel, files: Sequence[CatalogueFile], progress: Progress
) -> str:
    """The URI of one of the files: one that is there, or else the first that can be fetched."""
    wanted = [file.wanted(folder) for file in files]
    for file in wanted:
        if stored(file) is not None:
            return file.uri
        if storage.exists(file.uri):
            return _by_hand(file)
    problems = []
    for file in wanted:
        try:
            return fetch(file, progress).uri
        except DownloadError as error:
            problems.append(str(error))
    targets = " or ".join(file.uri for file in wanted)
    raise ModelError(
        f"{' '.join(problems)}. Where no address works, obtain {model.obtain.rstrip('.')}; put it "
        f"at {targets}"
    )


def _by_hand(file: Wanted) -> str:
    """A file that somebody put where it belongs.

    Raises:
        ModelError: it is another one than the catalogue knows.
    """
    if file.sha256 and (digest := storage.sha256(file.uri)) != file.sha256:
        raise ModelError(
            f"{file.uri}: another file than expected: its SHA-256 is {digest}, not {file.sha256}; "
            "remove it, or name it by its path to use it all the same"
        )
    return file.uri
