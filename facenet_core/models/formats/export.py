"""Export a model for use without this project, and check what was written by running it.

In every format the model takes pixels, `image` uint8 [n, s, s, 3] RGB, and gives `embedding`
float32 [n, d] of unit length: standardisation and normalisation are inside, where nobody can forget
them. What else its user has to know (sizes, colours, threshold) is metadata in the file, where a
format has room for it: `metadata_props` of ONNX, `assets.extra/metadata.json` of a SavedModel, and
`metadata.json` of the zip behind a TFLite model, which is where its tools put files.

    exported = export(load("models/celeba/…"), "onnx", Path("out"))
    exported.cosine  # the least, over a few images, between its embeddings and Keras'
"""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from facenet_core import storage
from facenet_core.errors import ConfigError, ModelError
from facenet_core.extras import install, installed, require_keras
from facenet_core.models.face_model import INPUT, OUTPUT, FaceModel
from facenet_core.runtime import quietly

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
METADATA = "metadata.json"
_PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime")}
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


def export(
    embedder: FaceModel,
    format: Format,
    folder: str,
    float16: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a model below `folder`, a path or URI, run it, and compare embeddings.

    The file appears under its name only after it has passed.

    Args:
        float16: TFLite only: weights in half the bytes.
        metadata: what the model is used with, such as its threshold, beside what it is itself.

    Raises:
        ConfigError: no such format, or its packages are not installed.
        ModelError: what was written gives other embeddings.
    """
    check_format(format, float16)
    with storage.temporary_folder() as temporary, quietly():
        name = FLOAT16_NAME if float16 else NAMES[format]
        path = temporary / name
        images = _sample_images(embedder.image_size)
        expected = embedder.embed(images)
        _write(embedder, format, path, float16)
        _describe(path, format, {**_metadata(embedder), **(metadata or {})})
        cosine = least_cosine(open_exported(path, format)(images), expected)
        needed = FLOAT16_TOLERANCE if float16 else TOLERANCE
        if not cosine >= needed:
            raise ModelError(
                f"{name}: its embeddings differ from those of the model (cosine {cosine:.6f}, "
                f"expected {needed} or more); it was not kept"
            )
        uri = storage.join(storage.absolute(folder), name)
        return Exported(format, uri, _publish(path, uri), cosine)


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


def check_format(format: str, float16: bool) -> None:
    """Raises ConfigError where a model cannot be written so here."""
    if format not in FORMATS:
        raise ConfigError(f"format: {format!r} is not known; expected {', '.join(FORMATS)}")
    if float16 and format != "tflite":
        raise ConfigError(f"float16 is for tflite, not for {format}")
    require_keras("Exporting a model")
    missing = [name for name in _PACKAGES.get(format, ()) if not installed(name)]
    if missing:
        raise ConfigError(f"format {format} needs {' and '.join(missing)}: {install('export')}")


def _write(embedder: FaceModel, format: Format, path: Path, float16: bool) -> None:
    import keras

    network = embedder.pixels_to_embeddings
    if format == "keras":
        network.save(path)
        return
    image = keras.Input(network.input_shape[1:], dtype="uint8", name=INPUT)
    network = keras.Model(image, {OUTPUT: network(image)})
    network(np.zeros((1, *network.input_shape[1:]), np.uint8))  # Keras exports what was called once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # NumPy's, of Keras
        if format == "savedmodel":
            _write_saved_model(network, path)
        elif format == "onnx":
            network.export(str(path), format="onnx", verbose=False)
        else:
            network.export(str(path), format="litert", verbose=False, **_tflite_options(float16))


def _write_saved_model(network: Any, path: Path) -> None:
    import keras

    archive = keras.export.ExportArchive()
    # TensorFlow finds the variables by itself; those that are tracked it would write twice.
    if keras.backend.backend() != "tensorflow":
        archive.track(network)
    call = network.call
    archive.add_endpoint("serve", lambda image: call(image, training=False), network.inputs)
    archive.write_out(str(path), verbose=False)


def _tflite_options(float16: bool) -> dict[str, Any]:
    import tensorflow as tf

    # Without `tf.Select` operations: the plain interpreter of a phone has none.
    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if not float16:
        return {"target_spec": target}
    target["supported_types"] = [tf.float16]
    return {"target_spec": target, "optimizations": [tf.lite.Optimize.DEFAULT]}


def _metadata(embedder: FaceModel) -> dict[str, Any]:
    return {
        "name": embedder.name,
        "fingerprint": embedder.fingerprint,
        "image_size": embedder.image_size,
        "color": "RGB",
        "standardization": f"inside: {embedder.standardization}",
        "embedding_size": embedder.embedding_size,
    }


def _describe(path: Path, format: Format, metadata: Mapping[str, Any]) -> None:
    """Write the metadata into an exported model."""
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    if format == "onnx":
        import onnx

        model = onnx.load(str(path))
        for tensor in (*model.graph.input, *model.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_param = "n"
        onnx.helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        onnx.save(model, str(path))
    elif format == "savedmodel":
        (path / "assets.extra").mkdir(exist_ok=True)
        (path / "assets.extra" / METADATA).write_text(text, encoding="utf-8")
    elif format == "tflite":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(METADATA, text)


def _sample_images(size: int) -> np.ndarray:
    """Smooth colours, so that neighbouring pixels are alike as in photographs, and pure noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (_SAMPLES // 2, 4, 4, 3), np.uint8)
    smooth = coarse.repeat(-(-size // 4), axis=1).repeat(-(-size // 4), axis=2)[:, :size, :size]
    noise = random.integers(0, 256, (_SAMPLES - len(smooth), size, size, 3), np.uint8)
    return np.concatenate([smooth, noise])


def _publish(path: Path, uri: str) -> int:
    """Copy a file or folder into storage; a folder's files first, its `saved_model.pb` last."""
    if path.is_file():
        storage.copy_file(path, uri)
        return path.stat().st_size
    storage.remove(uri)
    files = [file for file in path.rglob("*") if file.is_file()]
    for file in sorted(files, key=lambda file: file.name == "saved_model.pb"):
        storage.copy_file(file, storage.join(uri, file.relative_to(path).as_posix()))
    size = sum(file.stat().st_size for file in files)
    shutil.rmtree(path)
    return size


def _open_keras(path: Path) -> Run:
    import keras

    network = keras.saving.load_model(path, compile=False, safe_mode=True)
    return lambda images: np.asarray(network.predict_on_batch(images))


def _open_saved_model(path: Path) -> Run:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))  # holds the variables
    return lambda images: model.serve(images)[OUTPUT].numpy()


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def _open_tflite(path: Path) -> Run:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its new home, the package ai-edge-litert
        interpreter = tf.lite.Interpreter(str(path))
    run = interpreter.get_signature_runner()
    return lambda images: run(**{INPUT: images})[OUTPUT]
