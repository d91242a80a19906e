"""A model's embeddings on OpenVINO: faster than Keras on a CPU, see docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from facenet_core import storage
from facenet_core.models.face_model import FaceModel, fit
from facenet_core.models.runtimes import Precision, Runtime
from facenet_core.runtime import quietly

_BATCH = 16  # larger ones are no faster
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}  # as OpenVINO calls them


def open_model(model: FaceModel, threads: int | None, precision: Precision | None) -> Runtime:
    """The model on OpenVINO; see `open_runtime`."""
    with quietly():
        import openvino as ov
        import tensorflow as tf

        network = model.pixels_to_embeddings
        size = model.image_size
        signature = [tf.TensorSpec([None, size, size, 3], tf.uint8)]

        @tf.function(input_signature=signature, autograph=False)
        def call(images: tf.Tensor) -> tf.Tensor:
            return network(images, training=False)

        settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        if precision is not None:
            settings["INFERENCE_PRECISION_HINT"] = _PRECISIONS[precision]
        converted = _convert(call.get_concrete_function())
        compiled = ov.Core().compile_model(converted, "CPU", settings)

    def embed(images: np.ndarray) -> np.ndarray:
        images = np.ascontiguousarray(fit(images, size))
        result = np.empty((len(images), model.embedding_size), np.float32)
        request = compiled.create_infer_request()  # threads share the model, not a request
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            result[start : start + len(batch)] = request.infer(batch)[0]
        return result

    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    computed_in = next((name for name, type_ in _PRECISIONS.items() if type_ == hint), hint)
    return Runtime(model, "openvino", computed_in, embed)


def _convert(function: Any) -> Any:
    """OpenVINO's model of a TensorFlow function, its weights included.

    By way of a file: from the function itself, OpenVINO 2026.4 fails under Python 3.13.
    """
    import openvino as ov
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = convert_variables_to_constants_v2(function).graph.as_graph_def()
    with storage.temporary_folder() as folder:
        return ov.convert_model(tf.io.write_graph(graph, str(folder), "graph.pb", as_text=False))
