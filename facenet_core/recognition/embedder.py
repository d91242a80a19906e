"""Faces in photographs to embeddings, in Python and as a step of a scikit-learn pipeline."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, Self

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin

from facenet_core import storage
from facenet_core.alignment.faces import Face, decode_configured, find_faces
from facenet_core.config import AlignConfig
from facenet_core.embedding.artifact import require_model
from facenet_core.errors import ConfigError, FacenetError
from facenet_core.evaluation.protocol.distances import distance
from facenet_core.housekeeping.promotion import resolve
from facenet_core.imaging import formats
from facenet_core.imaging.decode import Photograph, UndecodableImage, to_rgb
from facenet_core.imaging.pixels import require_rgb
from facenet_core.models import import_model
from facenet_core.models.face_model import FaceModel
from facenet_core.models.model_crops import alignment_of
from facenet_core.models.runtimes import Embed, Runtime, open_runtime
from facenet_core.recognition.gallery import Gallery, Match, open_gallery
from facenet_core.recognition.photographs import read_photograph
from facenet_core.recognition.threshold import (
    Threshold,
    find_reports,
    root_of,
    validated_threshold,
)
from facenet_core.storage import Manifest

Photo = str | os.PathLike[str] | bytes | np.ndarray | Image.Image

_BATCH = 16
_MODELS = 4  # in memory of a process, those used last
_LOADING = threading.RLock()


class NoFace(FacenetError):
    """No face was found in a photograph that has to have one."""


@dataclass(frozen=True)
class Comparison:
    """Two faces: the Euclidean distance of their embeddings, of unit length, from 0 to 2.

    `same` is None where no threshold is known.
    """

    distance: float
    threshold: Threshold
    same: bool | None


class FaceEmbedder(TransformerMixin, BaseEstimator):
    """A transformer from photographs to embeddings: nothing to fit, one row for each photograph.

    A photograph is a path or URI, the bytes of a file, a Pillow image, or pixels uint8 RGB
    [h, w, 3]. Of each the face is taken that it is of: large and near the centre.

    Args:
        model: an artifact of the train stage, `newest:NAME`, `promoted:NAME`, a name of the
            catalogue (`facenet models`), a `.keras` file of `facenet export`, or a model from
            elsewhere: a TensorFlow 1 folder or `.pb`, an `.h5`, `.pt` or `.safetensors`.
        align: how faces are found and cropped; default: as those the model was trained on.
        engine: what runs the model; auto: OpenVINO where it is installed, else Keras.
        missing: a photograph without a face: an error, or a row of NaN.
        threshold: Euclidean distances below it, of embeddings of unit length, are one person's;
            default: that of the model's last validation, where there is one.
        root: the storage root whose validations are looked at, and where a model by name is
            brought; default: that of the model, or $FACENET_STORAGE.

    Example:
        >>> embedder = FaceEmbedder("facenet-store/models/celeba/5e329dbe08f4a27b")
        >>> embedder.embed(["a.jpg", "b.jpg"]).shape
        (2, 128)
        >>> embedder.compare("a.jpg", "b.jpg").same
        True
        >>> make_pipeline(embedder, KNeighborsClassifier(3)).fit(files, names).predict(["c.jpg"])
    """

    def __init__(
        self,
        model: str,
        *,
        align: AlignConfig | None = None,
        engine: str = "auto",
        missing: Literal["error", "nan"] = "error",
        threshold: float | None = None,
        root: str | None = None,
    ) -> None:
        self.model = model
        self.align = align
        self.engine = engine
        self.missing = missing
        self.threshold = threshold
        self.root = root

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Nothing is learned."""
        return self

    def transform(self, X: Sequence[Photo]) -> np.ndarray:
        """`embed`, by the name that pipelines know."""
        return self.embed(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        return np.array([f"embedding{i}" for i in range(self.face_model.embedding_size)], object)

    def detect(self, image: Photo) -> list[Face]:
        """All faces of a photograph, cropped; first the one that it is of, the others by score.

        Raises:
            UndecodableImage: it is no picture.
        """
        every = self.alignment.model_copy(update={"detect_multiple_faces": True})
        return find_faces([_photograph(image, self.alignment)], every)[0]

    def embed(self, images: Sequence[Photo]) -> np.ndarray:
        """Embeddings float32 [n, d] of unit length, a row for each photograph.

        Raises:
            NoFace: there is none in one of them, and `missing` is "error".
            UndecodableImage: one of them is no picture.
            SourceError: one of them is missing, or its server does not answer.
            ValueError: a single photograph, or an array that is not uint8 [h, w, 3].
        """
        return self._embed(images, self.embed_crops)

    def embed_crops(self, crops: np.ndarray, flipped: bool = False) -> np.ndarray:
        """Embeddings float32 [n, d] of faces that are cropped already, uint8 [n, h, w, 3].

        Raises:
            ValueError: they are something else, such as floats or channels first.
        """
        crops = require_rgb(crops, "crops", batch=True)
        return self.runtime(crops[:, :, ::-1] if flipped else crops)

    def compare(self, a: Photo, b: Photo) -> Comparison:
        """Whether two photographs show the same person, by the threshold of a validation.

        Raises:
            NoFace: there is none in one of them.
        """
        apart = float(self.distances([a, b])[0, 1])
        return Comparison(apart, self.decision, self.decision.same(apart))

    def find(self, image: Photo, table: str, count: int = 5) -> list[tuple[Face, list[Match]]]:
        """Who is on a photograph: each of its faces, with the nearest faces of a table.

        Embeddings of mirrored images, which a validation may have joined, are not in such tables.

        Args:
            table: of `facenet embed`, or an artifact of embeddings by the same model.
            count: nearest faces that are returned of each face.

        Raises:
            NoFace: there is none on it.
            ConfigError: another model embedded the table.
        """
        if not (faces := self.detect(image)):
            raise NoFace(
                f"{_name(image, 0)}: no face was found; try a larger or upright photograph"
            )
        gallery = _gallery(table, _state_of(table))
        require_model(table, gallery.model, self.face_model.fingerprint)
        near = gallery.nearest(self.embed_crops(np.stack([face.pixels for face in faces])), count)
        return [
            (face, [replace(match, same=self.decision.same(match.distance)) for match in matches])
            for face, matches in zip(faces, near, strict=True)
        ]

    def distances(self, images: Sequence[Photo]) -> np.ndarray:
        """Euclidean distances float64 [n, n], 0 to 2, of photographs from one another."""
        return self.distances_of(np.stack([face.pixels for face in self.first_faces(images)]))

    def distances_of(self, crops: np.ndarray) -> np.ndarray:
        """Euclidean distances float64 [n, n] of faces cropped already, uint8 [n, h, w, 3]."""
        crops = require_rgb(crops, "crops", batch=True)
        if self.decision.use_flipped_images:
            vectors = self.runtime.embed_with_mirrored(crops) / np.sqrt(2)
        else:
            vectors = self.runtime(crops)
        joined, count = vectors.astype(np.float64), len(crops)
        a, b = np.repeat(np.arange(count), count), np.tile(np.arange(count), count)
        return np.sqrt(distance(joined[a], joined[b], "euclidean")).reshape(count, count)

    def first_faces(self, images: Sequence[Photo]) -> list[Face]:
        """The face that each photograph is of.

        Raises:
            NoFace: there is none in one of them.
        """
        images, first = _several(images), []
        for number, faces in enumerate(self._faces(images)):
            if not faces:
                raise NoFace(
                    f"{_name(images[number], number)}: no face was found; try a larger or upright "
                    "photograph, or leave it out"
                )
            first.append(faces[0])
        return first

    @cached_property
    def uri(self) -> str:
        """The model's URI; one of the catalogue is fetched and imported where it was not before."""
        return resolve(storage.absolute(self.root or storage.default_root()), self.model, "train")

    @cached_property
    def face_model(self) -> FaceModel:
        """The model, loaded when it is first needed, once in a process for all embedders."""
        return load_once(self.uri)

    @cached_property
    def alignment(self) -> AlignConfig:
        """How faces are cropped for the model."""
        if self.align is not None:
            return self.align
        reports = [report for _, report in self.reports]
        return alignment_of(self.uri, self.face_model.image_size, reports)

    @cached_property
    def decision(self) -> Threshold:
        """How embeddings are compared, and where the line is drawn."""
        threshold = validated_threshold(self.reports)
        if self.threshold is None:
            return threshold
        return replace(threshold, distance=self.threshold, report=None)

    @property
    def artifact(self) -> str:
        """The absolute URI of the model."""
        return import_model.artifact_of(self.uri)

    @cached_property
    def reports(self) -> list[tuple[str, Manifest]]:
        """The model's validations, the last one first: URIs and manifests."""
        root = self.root or root_of(self.artifact) or storage.default_root()
        return find_reports(storage.absolute(root), self.face_model.fingerprint)

    @cached_property
    def runtime(self) -> Runtime:
        """What runs the model, opened when it is first needed, once in a process.

        Raises:
            ConfigError: no such runtime, or it is not installed.
        """
        with _LOADING:
            return _opened(self.face_model, self.engine)

    def _embed(self, images: Sequence[Photo], embed: Embed) -> np.ndarray:
        if self.missing not in ("error", "nan"):
            raise ConfigError(f"missing: {self.missing!r}; expected error or nan")
        images = _several(images)
        rows = np.full((len(images), self.face_model.embedding_size), np.nan, np.float32)
        if self.missing == "error":
            faces: list[Face | None] = list(self.first_faces(images))
        else:
            faces = [in_one[0] if in_one else None for in_one in self._faces(images)]
        pixels = {number: face.pixels for number, face in enumerate(faces) if face is not None}
        if pixels:
            rows[list(pixels)] = embed(np.stack(list(pixels.values())))
        return rows

    def _faces(self, images: Sequence[Photo]) -> list[list[Face]]:
        faces: list[list[Face]] = []
        for start in range(0, len(images), _BATCH):
            batch = [_photograph(image, self.alignment) for image in images[start : start + _BATCH]]
            faces += find_faces(batch, self.alignment)
        return faces

    def __setattr__(self, name: str, value: Any) -> None:
        """Also drop what was made with a parameter's old value: `set_params` ends up here."""
        super().__setattr__(name, value)
        if name in self._get_param_names():
            for made in _MADE_OF_PARAMETERS:
                self.__dict__.pop(made, None)

    def __getstate__(self) -> dict[str, Any]:
        """Its parameters: the model is loaded again where it is needed."""
        return self.get_params(deep=False)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        return tags


_MADE_OF_PARAMETERS = [
    name for name, value in vars(FaceEmbedder).items() if isinstance(value, cached_property)
]


def load_once(uri: str) -> FaceModel:
    """The model at `uri`, shared by all that ask for it in this process while its files are equal.

    Raises:
        ModelError, ArtifactError: as `import_model.load`.
    """
    with _LOADING:
        return _loaded(uri, import_model.fingerprint_of(uri))


@lru_cache(_MODELS)
def _loaded(uri: str, fingerprint: str) -> FaceModel:
    return import_model.load(uri)


@lru_cache(_MODELS)
def _opened(model: FaceModel, engine: str) -> Runtime:
    return open_runtime(model, engine)


def _state_of(table: str) -> tuple[int | None, str]:
    """What changes when a table is written anew."""
    return storage.size(table), str(storage.modified(table)) if storage.exists(table) else ""


@lru_cache(1)
def _gallery(table: str, state: tuple[int | None, str]) -> Gallery:
    return open_gallery(table)


def _several(images: Sequence[Photo]) -> Sequence[Photo]:
    """A list of them, for they may come as a column of a data frame.

    Raises:
        ValueError: it is a single one.
    """
    single = isinstance(images, str | bytes | os.PathLike | Image.Image)
    if isinstance(images, np.ndarray) and images.dtype.kind in "biuf":
        single = images.ndim < 4
    if single:
        raise ValueError("expected a list of photographs; for a single one: [photograph]")
    return list(images)


def _photograph(image: Photo, config: AlignConfig) -> Photograph:
    if isinstance(image, np.ndarray):
        image = require_rgb(image, "a photograph")
        return Photograph(image, image.shape[1], image.shape[0])
    if isinstance(image, Image.Image):
        pixels = to_rgb(image)
        return Photograph(pixels, pixels.shape[1], pixels.shape[0])
    if not isinstance(image, str | bytes | os.PathLike):
        raise ValueError(
            "a photograph is a path, the bytes of a file, a NumPy array or a Pillow image, not "
            f"{type(image).__name__}"
        )
    name = "" if isinstance(image, bytes) else f"{os.fspath(image)}: "
    try:
        data = image if isinstance(image, bytes) else read_photograph(os.fspath(image))
        format = formats.of_file("" if isinstance(image, bytes) else os.fspath(image), data)
        if format is not None and not format.read:
            raise UndecodableImage("unsupported_format", str(formats.unsupported(format)))
        return decode_configured(data, config)
    except UndecodableImage as error:
        raise UndecodableImage(error.reason, f"{name}{error.detail}") from None


def _name(image: Photo, number: int) -> str:
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    return f"photograph {number}"
