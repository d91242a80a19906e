"""A model's embeddings on OpenVINO: faster than Keras on a CPU, see docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov

from facenet_core.models.face_model import FaceModel, fit
from facenet_core.models.runtimes import Precision, Runtime
from facenet_core.models.runtimes.compiled import compile_cached
from facenet_core.runtime import quietly

_BATCH = 16  # larger ones are no faster
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}  # as OpenVINO calls them


def open_model(model: FaceModel, threads: int | None, precision: Precision | None) -> Runtime:
    """The model on OpenVINO; see `open_runtime`.

    Raises:
        Unsupported: it has layers that only Keras runs.
    """

    def build() -> ov.Model:
        from facenet_core.models.runtimes import keras_graph

        return keras_graph.build(model).model

    with quietly():
        compiled = compile_network(model, build, threads, precision)
    size = model.image_size

    def embed(images: np.ndarray) -> np.ndarray:
        images = np.ascontiguousarray(fit(images, size))
        result = np.empty((len(images), model.embedding_size), np.float32)
        request = compiled.create_infer_request()  # threads share the model, not a request
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            result[start : start + len(batch)] = request.infer(batch)[0]
        return result

    return Runtime(model, "openvino", precision_of(compiled), embed)


def compile_network(
    model: FaceModel,
    build: Callable[[], ov.Model],
    threads: int | None,
    precision: Precision | None,
) -> ov.CompiledModel:
    """What `build` makes of the model's file, ready to run on the CPU; see `open_runtime`."""
    settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = _PRECISIONS[precision]
    return compile_cached(model, build, settings)


def precision_of(compiled: ov.CompiledModel) -> str:
    """What it computes in."""
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return next((name for name, type_ in _PRECISIONS.items() if type_ == hint), hint)
