"""What runs a model's network. `open_runtime` is the one place that decides.

runtime = open_runtime(import_model.load(uri))
embeddings = runtime(crops)  # uint8 [n, h, w, 3] -> float32 [n, d] of unit length
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from facenet_core.config.validate import Engine, Precision
from facenet_core.errors import ConfigError
from facenet_core.extras import MissingPackage, has_keras, install, installed, require_keras

if TYPE_CHECKING:
    import numpy as np

    from facenet_core.models.face_model import FaceModel

ENGINES: tuple[str, ...] = get_args(Engine)
_OF_ONNX = ("openvino", "onnxruntime")  # what runs ONNX networks, the faster first
Embed = Callable[["np.ndarray"], "np.ndarray"]


@dataclass(frozen=True)
class Runtime:
    """A model ready to run: crops uint8 [n, h, w, 3] -> embeddings float32 [n, d] of unit length.

    Attributes:
        model: what runs.
        engine: what runs it.
        precision: what it computes in.
        embed: the function; threads may share it.
    """

    model: FaceModel
    engine: str
    precision: str
    embed: Embed

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.embed(images)

    def embed_with_mirrored(self, images: np.ndarray) -> np.ndarray:
        """Float32 [n, 2d] of crops uint8 [n, h, w, 3]: their embeddings, those of the mirror
        images joined to them, as davidsandberg/facenet does. Both are computed in one batch."""
        import numpy as np

        from facenet_core.models.face_model import fit

        images = fit(images, self.model.image_size)
        both = self(np.concatenate([images, images[:, :, ::-1]]))
        return np.concatenate(np.split(both, 2), axis=1)


def open_runtime(
    model: FaceModel,
    engine: str = "auto",
    threads: int | None = None,
    precision: Precision | None = None,
) -> Runtime:
    """The model on a runtime.

    Args:
        engine: `auto`: OpenVINO where it is installed and takes the network, else Keras, or
            onnxruntime for an ONNX network; Keras first where KERAS_BACKEND is jax, which is there
            for GPUs.
        threads: to run on; None: the runtime's choice, all cores.
        precision: None: the one that the processor is fastest in. In bfloat16 embeddings differ
            from those in float32 by a cosine of at least 0.9999.

    Raises:
        ConfigError: no such runtime, one that is not installed, or one without that precision.
        ModelError, ArtifactError: the model cannot be loaded.
    """
    check_engine(engine, precision)
    if model.is_onnx:
        return _open_onnx(model, engine, threads, precision)
    if engine == "onnxruntime":
        raise ConfigError(f"engine: onnxruntime runs ONNX networks; {model.name} is one of Keras")
    if engine == "openvino" or (engine == "auto" and prefers_openvino()):
        from facenet_core.models.runtimes import keras_graph, openvino

        try:
            return openvino.open_model(model, threads, precision)
        except keras_graph.Unsupported:
            if engine == "openvino" or precision == "bfloat16" or not has_keras():
                raise
    return Runtime(model, "keras", "float32", model.embed)


def _open_onnx(
    model: FaceModel, engine: str, threads: int | None, precision: Precision | None
) -> Runtime:
    if engine == "keras":
        raise ConfigError(f"engine: keras runs no ONNX networks, of which {model.name} is one")
    if engine == "auto":
        engine = next((name for name in _OF_ONNX if installed(name)), "")
        if not engine:
            raise MissingPackage(
                f"{model.name}: nothing that runs ONNX networks is installed: {install('use')}"
            )
    from facenet_core.models.runtimes import onnx

    return onnx.open_model(model, engine, threads, precision)


def check_engine(engine: str, precision: Precision | None = None) -> None:
    """Check that there is such a runtime here; nothing slow is loaded.

    Raises:
        ConfigError: it is not known, not installed, or does not compute in that precision.
    """
    if engine not in ENGINES:
        raise ConfigError(
            f"engine: {engine!r}; expected {', '.join(ENGINES[:-1])} or {ENGINES[-1]}"
        )
    if precision == "bfloat16" and engine not in ("auto", "openvino"):
        raise ConfigError(f"precision: only openvino computes in bfloat16, not {engine}")
    needed = "openvino" if precision == "bfloat16" else engine
    extra = {"openvino": "use", "onnxruntime": "export"}.get(needed)
    if extra is not None and not installed(needed):
        raise MissingPackage(f"engine: {needed} is not installed: {install(extra)}")
    if engine == "keras":
        require_keras("engine: keras")
    if not has_keras() and not any(installed(name) for name in _OF_ONNX):
        raise MissingPackage(f"Models run on OpenVINO or Keras; neither is here: {install('use')}")


def prefers_openvino() -> bool:
    return installed("openvino") and not (os.environ.get("KERAS_BACKEND") == "jax" and has_keras())
