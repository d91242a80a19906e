"""What runs a model's network. `open_runtime` is the one place that decides.

runtime = open_runtime(import_model.load(uri))
embeddings = runtime(crops)  # uint8 [n, h, w, 3] -> float32 [n, d] of unit length
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

from facenet_core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from facenet_core.models.face_model import FaceModel

Engine = Literal["auto", "openvino", "keras"]
Precision = Literal["float32", "bfloat16"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
Embed = Callable[["np.ndarray"], "np.ndarray"]


@dataclass(frozen=True)
class Runtime:
    """A model ready to run: crops uint8 [n, h, w, 3] -> embeddings float32 [n, d] of unit length.

    Attributes:
        engine: what runs it.
        embed: the function; threads may share it.
    """

    engine: str
    embed: Embed

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.embed(images)


def open_runtime(
    model: FaceModel,
    engine: str = "auto",
    threads: int | None = None,
    precision: Precision | None = None,
) -> Runtime:
    """The model on a runtime.

    Args:
        engine: `auto`: OpenVINO where it is installed, else Keras.
        threads: to run on; None: the runtime's choice, all cores.
        precision: None: the one that the processor is fastest in. In bfloat16 embeddings differ
            from those in float32 by a cosine of at least 0.9999.

    Raises:
        ConfigError: no such runtime, one that is not installed, or one without that precision.
        ModelError, ArtifactError: the model cannot be loaded.
    """
    check_engine(engine)
    if engine == "openvino" or (engine == "auto" and _converts()):
        if not _converts():
            raise ConfigError("engine: openvino converts models with Keras on TensorFlow")
        from facenet_core.models.runtimes import openvino

        return Runtime("openvino", openvino.compile_embedder(model, threads, precision))
    if precision == "bfloat16":
        raise ConfigError("precision: bfloat16 needs OpenVINO: pip install openvino")
    return Runtime("keras", model.embed)


def check_engine(engine: str) -> None:
    """Check that there is such a runtime here; nothing slow is loaded.

    Raises:
        ConfigError: it is not known, or not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(
            f"engine: {engine!r}; expected {', '.join(ENGINES[:-1])} or {ENGINES[-1]}"
        )
    if engine == "openvino" and not find_spec("openvino"):
        raise ConfigError("engine: openvino is not installed; pip install openvino")


def _converts() -> bool:
    """Whether OpenVINO is here, and what a model is converted with: Keras on TensorFlow."""
    if not find_spec("openvino"):
        return False
    import keras

    return keras.backend.backend() == "tensorflow"
