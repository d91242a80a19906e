"""A trained model, ready to turn face crops into embeddings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn, Self

import cv2
import numpy as np

from facenet_core import storage
from facenet_core.errors import ArtifactError, FacenetError, ModelError
from facenet_core.extras import require_keras
from facenet_core.imaging.pixels import require_rgb
from facenet_core.models.finite import require_finite
from facenet_core.models.formats import files, keras_file
from facenet_core.models.standardization import (
    FIXED,
    PIXELS,
    SMALLEST_SQUARED_NORM,
    Standardization,
    from_json,
    of_flag,
)
from facenet_core.runtime import quietly
from facenet_core.storage import Artifact

if TYPE_CHECKING:
    import keras

MODEL_FILE, ONNX_FILE = "model.keras", "model.onnx"
INPUT, OUTPUT = "image", "embedding"  # the names in exported models
# Batches are padded to a power of two up to this: backends compile once for each size.
# Under JAX, which is there for GPUs, launching many small ones takes longer than computing them.
_LARGEST_BATCH, _LARGEST_BATCH_UNDER_JAX = 32, 256


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A model as its manifest describes it. Its network is loaded when something asks for it.

    `models.runtimes.open_runtime` runs it in the fastest way that there is here.

    Attributes:
        name, fingerprint: of the model's artifact.
        image_size: side of the network's square input, pixels.
        embedding_size: d.
        standardization: what becomes of pixels before the network's first layer.
        load_network: loads it as a Keras model.
        file: URI of its `.keras` or `.onnx` file; None for one that only exists in memory.
        digest: SHA-256 of the file, where its manifest says it.
    """

    name: str
    fingerprint: str
    image_size: int
    embedding_size: int
    standardization: Standardization
    load_network: Callable[[], keras.Model]
    file: str | None = None
    digest: str | None = None

    @classmethod
    def load(cls, model_uri: str) -> Self:
        """The model of a finished training.

        Raises:
            ArtifactError: the folder holds no finished model.
        """
        return cls.from_artifact(storage.open_artifact(model_uri, "train"))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """The model of a finished training, of which the artifact is open.

        Raises:
            ArtifactError: its manifest does not say what it takes.
        """
        details = artifact.details
        try:
            if artifact.has_file(ONNX_FILE):
                return cls.from_onnx(
                    artifact.file_uri(ONNX_FILE),
                    artifact.name,
                    artifact.fingerprint,
                    details["image_size"],
                    details["embedding_size"],
                    from_json(details["standardization"]),
                    artifact.digest_of(ONNX_FILE),
                )
            file = artifact.file_uri(MODEL_FILE)
            standardization = of_flag(details["use_fixed_image_standardization"])
            if details.get("imported_from", {}).get("kind") == "keras":  # of `facenet export`
                standardization = PIXELS
            return cls(
                artifact.name,
                artifact.fingerprint,
                details["image_size"],
                details["embedding_size"],
                standardization,
                partial(load_network, file),
                file,
                artifact.digest_of(MODEL_FILE),
            )
        except KeyError as error:
            raise ArtifactError(
                f"{artifact.uri}: its manifest does not say {error}; train the model again"
            ) from None

    @classmethod
    def from_onnx(
        cls,
        file: str,
        name: str,
        fingerprint: str,
        image_size: int,
        embedding_size: int,
        standardization: Standardization,
        digest: str | None = None,
    ) -> Self:
        """A model in an ONNX file, which OpenVINO or onnxruntime runs."""

        def refuse() -> NoReturn:
            raise ModelError(
                f"{file}: an ONNX network, which cannot be trained or exported; expected a model "
                "of `facenet train`, or another one that Keras runs"
            )

        return cls(
            name, fingerprint, image_size, embedding_size, standardization, refuse, file, digest
        )

    @classmethod
    def from_network(
        cls,
        network: keras.Model,
        standardization: Standardization,
        name: str = "",
        fingerprint: str = "",
    ) -> Self:
        """A network in memory: standardised images [n, s, s, 3] -> prelogits [n, d] float32."""
        size, dimensions = network.input_shape[1], network.output_shape[1]
        return cls(name, fingerprint, size, dimensions, standardization, lambda: network)

    @property
    def is_onnx(self) -> bool:
        """Whether its network is ONNX, not Keras."""
        return self.file is not None and files.is_onnx(self.file)

    @cached_property
    def network(self) -> keras.Model:
        """Standardised images [n, s, s, 3] float32 -> prelogits [n, d] float32.

        Of a file of `facenet export`: `image` uint8 -> `embedding`, of unit length.

        Raises:
            ArtifactError: it cannot be read.
            ModelError: it is no Keras model, or its weights are not finite.
        """
        with quietly():
            return self.load_network()

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Embeddings [n, d] float32 of unit length, of face crops [n, h, w, 3] uint8 RGB, by Keras.

        Crops larger than `image_size` are cut to their centre; crops with a shorter side are
        resized to it.

        Raises:
            ValueError: `images` is not uint8 [n, h, w, 3].
        """
        images = fit(images, self.image_size)
        import keras

        jax = keras.backend.backend() == "jax"
        largest = _LARGEST_BATCH_UNDER_JAX if jax else _LARGEST_BATCH
        embeddings = []
        for start in range(0, len(images), largest):
            batch = images[start : start + largest]
            padding = (1 << (len(batch) - 1).bit_length()) - len(batch)
            padded = np.pad(batch, ((0, padding), (0, 0), (0, 0), (0, 0)))
            embeddings.append((self._run(padded), len(batch)))
        none = np.empty((0, self.embedding_size), np.float32)
        return np.concatenate([none, *(np.asarray(rows)[:count] for rows, count in embeddings)])

    @cached_property
    def _run(self) -> Callable[[np.ndarray], Any]:
        import keras

        if keras.backend.backend() == "jax":
            from facenet_core.models.runtimes import jax as jax_runtime

            return jax_runtime.compile_network(self.pixels_to_embeddings)
        return self.pixels_to_embeddings.predict_on_batch

    @cached_property
    def pixels_to_embeddings(self) -> keras.Model:
        """`image` [n, s, s, 3] uint8 -> `embedding` [n, d] float32, as one network."""
        import keras
        from keras import ops

        from facenet_core.models.preprocessing import standardize

        if self.standardization == PIXELS:
            return self.network
        images = keras.Input((self.image_size, self.image_size, 3), dtype="uint8", name=INPUT)
        prelogits = self.network(standardize(images, self.standardization == FIXED))
        squared = ops.sum(ops.square(prelogits), axis=1, keepdims=True)
        embeddings = prelogits * ops.rsqrt(ops.maximum(squared, SMALLEST_SQUARED_NORM))
        return keras.Model(images, keras.layers.Identity(name=OUTPUT)(embeddings))


def fit(images: np.ndarray, size: int) -> np.ndarray:
    """Crops [n, h, w, 3] as [n, size, size, 3]: the centre of larger ones, smaller ones resized.

    Smaller ones that are no squares get black margins first, so that no face is stretched. The
    original demanded equal sizes.

    Raises:
        ValueError: the crops are not uint8.
    """
    require_rgb(images, "crops", batch=True)
    height, width = images.shape[1:3]
    if padded(height, width, size):
        rows, columns = max(0, width - height), max(0, height - width)
        margins = [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)]
        images = np.pad(images, [(0, 0), *margins, (0, 0)])
    if min(height, width) < size:
        resized = [
            cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR) for image in images
        ]
        return np.stack(resized) if resized else np.empty((0, size, size, 3), images.dtype)
    top, left = (height - size) // 2, (width - size) // 2
    return images[:, top : top + size, left : left + size]


def padded(height: int, width: int, size: int) -> bool:
    """Whether `fit` gives a crop margins."""
    return min(height, width) < size and height != width


def save_network(network: keras.Model, uri: str) -> None:
    """Write a network as a `.keras` file."""
    with storage.temporary_folder() as folder:
        local = folder / MODEL_FILE
        network.save(local)
        storage.copy_file(local, uri)


def name_from(text: str) -> str:
    """The name of an artifact for a model from a file of any name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100] or "imported"


def load_network(uri: str) -> keras.Model:
    """The network in a `.keras` file. Files that carry code are refused.

    Raises:
        ArtifactError: it is missing or cannot be read.
        ModelError: it is not a `.keras` file, or its weights are not finite.
    """
    require_keras(f"{uri}: this network")
    import keras

    try:
        with storage.temporary_folder() as folder:
            local = keras_file.fetch(uri, folder)
            keras_file.check_values(local, uri)
            network = keras.saving.load_model(local, compile=False, safe_mode=True)
            require_finite(network, uri)
            return network
    except FacenetError:
        raise
    except Exception as error:  # Keras, zipfile and h5py raise nearly anything on broken files
        raise ArtifactError(f"{uri}: not a Keras model that can be read: {error}") from error
