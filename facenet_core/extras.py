"""What the extras of the package bring, and what to install where one is missing.

`use` has OpenVINO, on which detector and models run; `cpu`, `gpu` and `jax` have Keras and a
backend, on which networks are built, trained and exported.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, cast

from facenet_core.errors import ConfigError

DetectorRuntime = Literal["openvino", "tensorflow"]
_BACKENDS = ("tensorflow", "jax", "torch")  # of Keras


class MissingPackage(ConfigError):
    """A package is not installed that one of the extras brings."""


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return find_spec(package) is not None


def has_keras() -> bool:
    """Whether Keras is installed, and one of its backends."""
    return installed("keras") and any(installed(backend) for backend in _BACKENDS)


def require_keras(what: str) -> None:
    """Check that Keras is here. Nothing is imported.

    Args:
        what: needs it, the subject of the message.

    Raises:
        MissingPackage: it is not.
    """
    if not has_keras():
        raise MissingPackage(
            f"{what} needs Keras with TensorFlow or JAX, which is not installed: "
            f"{install('cpu')}, or the extra gpu or jax"
        )


def require_tensorflow(what: str) -> None:
    """Raises MissingPackage where TensorFlow is not installed, which `what` needs."""
    if not installed("tensorflow"):
        raise MissingPackage(
            f"{what} needs TensorFlow, which is not installed: {install('cpu')}, or the extra gpu"
        )


def detector_runtime(engine: str = "auto") -> DetectorRuntime:
    """What runs the face detector: for `auto` OpenVINO where it is installed, else TensorFlow.

    Raises:
        MissingPackage: it is not installed.
    """
    if engine == "auto":
        engine = "openvino" if installed("openvino") else "tensorflow"
        if not installed(engine):
            raise MissingPackage(
                "The face detector runs on OpenVINO or TensorFlow, and neither is installed: "
                f"{install('use')}"
            )
    elif not installed(engine):
        extra = "use" if engine == "openvino" else "cpu"
        raise MissingPackage(f"detector_engine: {engine} is not installed: {install(extra)}")
    return cast(DetectorRuntime, engine)


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'facenet-pipeline[{extra}]'"
