"""Export a model for use without this project, and check what was written by running it.

In every format the model takes pixels, images uint8 [n, s, s, 3] RGB, and gives embeddings float32
[n, d] of unit length: standardisation and normalisation are inside, where nobody can forget them.

    exported = export(load("models/celeba/…"), "onnx", Path("out"))
    exported.cosine  # the least, over a few images, between its embeddings and Keras'
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from facenet_core import storage
from facenet_core.engine import quietly
from facenet_core.errors import ConfigError, ModelError
from facenet_core.models.embedder import Embedder

Format = Literal["keras", "savedmodel", "onnx", "tflite"]
FORMATS: tuple[Format, ...] = get_args(Format)
NAMES = {
    "keras": "model.keras",
    "savedmodel": "saved_model",
    "onnx": "model.onnx",
    "tflite": "model.tflite",
}
FLOAT16_NAME = "model-float16.tflite"

# The least cosine between an embedding and Keras' that an export may have.
TOLERANCE = 0.9999
FLOAT16_TOLERANCE = 0.999
_PACKAGES = {"onnx": ("tf2onnx", "onnxruntime")}
_SAMPLES = 8

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Exported:
    """A model that was written, and how near it is to the one it was made of.

    Attributes:
        uri: of the file, or of the folder of a SavedModel.
        bytes: of all its files.
        cosine: the least between its embeddings and Keras', over a few images.
    """

    format: Format
    uri: str
    bytes: int
    cosine: float


def export(embedder: Embedder, format: Format, folder: str, float16: bool = False) -> Exported:
    """Write a model below `folder`, a path or URI, run it, and compare embeddings.

    The file appears under its name only after it has passed.

    Args:
        float16: TFLite only: weights in half the bytes.

    Raises:
        ConfigError: no such format, or its packages are not installed.
        ModelError: what was written gives other embeddings.
    """
    _require(format, float16)
    with tempfile.TemporaryDirectory(prefix="facenet-") as temporary, quietly():
        name = FLOAT16_NAME if float16 else NAMES[format]
        place = Path(temporary) / name
        images = _sample_images(embedder.image_size)
        expected = embedder.embed(images)  # first: Keras exports only what was called once
        _write(embedder, format, place, float16)
        cosine = least_cosine(open_exported(place, format)(images), expected)
        needed = FLOAT16_TOLERANCE if float16 else TOLERANCE
        if not cosine >= needed:
            raise ModelError(
                f"{name}: its embeddings differ from those of the model (cosine {cosine:.6f}, "
                f"expected {needed} or more); it was not kept"
            )
        uri = storage.join(storage.absolute(folder), name)
        return Exported(format, uri, _publish(place, uri), cosine)


def open_exported(path: Path, format: Format) -> Run:
    """A model that `export` wrote, as a function: uint8 [n, s, s, 3] -> float32 [n, d]."""
    return {
        "keras": _open_keras,
        "savedmodel": _open_saved_model,
        "onnx": _open_onnx,
        "tflite": _open_tflite,
    }[format](path)


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The least cosine between rows of a and b, both [n, d]; NaN where a number is not finite."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.min(np.sum(a * b, axis=1) / lengths))


def _require(format: str, float16: bool) -> None:
    if format not in FORMATS:
        raise ConfigError(f"format: {format!r} is not known; expected {', '.join(FORMATS)}")
    if float16 and format != "tflite":
        raise ConfigError(f"float16 is for tflite, not for {format}")
    missing = [name for name in _PACKAGES.get(format, ()) if not find_spec(name)]
    if missing:
        raise ConfigError(
            f"format {format} needs {' and '.join(missing)}: pip install 'facenet-pipeline[export]'"
        )


def _write(embedder: Embedder, format: Format, place: Path, float16: bool) -> None:
    network = embedder.pixels_to_embeddings
    if format == "keras":
        network.save(place)
        return
    options: dict[str, Any] = {"verbose": False}
    if format == "tflite":
        import tensorflow as tf

        # Without `tf.Select` operations: the plain interpreter of a phone has none.
        options["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
        if float16:
            options["optimizations"] = [tf.lite.Optimize.DEFAULT]
            options["target_spec"]["supported_types"] = [tf.float16]
    kinds = {"savedmodel": "tf_saved_model", "onnx": "onnx", "tflite": "litert"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # NumPy's, of Keras
        network.export(str(place), format=kinds[format], **options)


def _sample_images(size: int) -> np.ndarray:
    """Smooth colours, so that neighbouring pixels are alike as in photographs, and pure noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (_SAMPLES // 2, 4, 4, 3), np.uint8)
    smooth = coarse.repeat(-(-size // 4), axis=1).repeat(-(-size // 4), axis=2)[:, :size, :size]
    noise = random.integers(0, 256, (_SAMPLES - len(smooth), size, size, 3), np.uint8)
    return np.concatenate([smooth, noise])


def _publish(place: Path, uri: str) -> int:
    """Copy a file or folder into storage; a folder's files first, its `saved_model.pb` last."""
    if place.is_file():
        storage.copy_file(place, uri)
        return place.stat().st_size
    storage.remove(uri)
    files = [file for file in place.rglob("*") if file.is_file()]
    for file in sorted(files, key=lambda file: file.name == "saved_model.pb"):
        storage.copy_file(file, storage.join(uri, file.relative_to(place).as_posix()))
    size = sum(file.stat().st_size for file in files)
    shutil.rmtree(place)
    return size


def _open_keras(path: Path) -> Run:
    import keras

    network = keras.saving.load_model(path, compile=False, safe_mode=True)
    return lambda images: np.asarray(network.predict_on_batch(images))


def _open_saved_model(path: Path) -> Run:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))  # holds the variables
    return lambda images: model.serve(images).numpy()


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _open_tflite(path: Path) -> Run:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its new home, the package ai-edge-litert
        interpreter = tf.lite.Interpreter(str(path))
    [given], [result] = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(given["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return run
