"""ONNX networks on OpenVINO or onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from facenet_core import storage
from facenet_core.errors import ModelError
from facenet_core.models.face_model import ONNX_FILE, FaceModel, fit
from facenet_core.models.formats import onnx_file
from facenet_core.models.formats.onnx_file import OnnxGraph
from facenet_core.models.runtimes import Precision, Runtime
from facenet_core.runtime import quietly

_BATCH = 16  # of a graph that takes any number
_LEAST_LENGTH = 1e-10  # what shorter embeddings are divided by

# Images as the graph takes them -> its output.
Infer = Callable[[np.ndarray], np.ndarray]


def open_model(
    model: FaceModel, engine: str, threads: int | None, precision: Precision | None
) -> Runtime:
    """The model on `openvino` or `onnxruntime`; see `open_runtime`."""
    assert model.file is not None
    with storage.temporary_folder() as folder:
        local = folder / ONNX_FILE
        graph = onnx_file.fetch(model.file, local)
        try:
            with quietly():
                if engine == "openvino":
                    infer, computed_in = _openvino(model, graph, local, threads, precision)
                else:
                    infer, computed_in = _onnxruntime(graph, local, threads), "float32"
        except Exception as error:  # of either runtime
            raise _refused(model, engine, error) from None
    return Runtime(model, engine, computed_in, _embedder(model, engine, graph, infer))


def _embedder(
    model: FaceModel, engine: str, graph: OnnxGraph, infer: Infer
) -> Callable[[np.ndarray], np.ndarray]:
    largest = graph.batch or _BATCH

    def embed(images: np.ndarray) -> np.ndarray:
        images = fit(images, model.image_size)
        outputs = [np.empty((0, model.embedding_size), np.float32)] if len(images) == 0 else []
        for start in range(0, len(images), largest):
            batch = images[start : start + largest]
            padding = (graph.batch or len(batch)) - len(batch)
            padded = np.pad(batch, ((0, padding), (0, 0), (0, 0), (0, 0)))
            try:
                output = infer(_as_taken(padded, model, graph))
            except Exception as error:
                raise _refused(model, engine, error) from None
            outputs.append(output.reshape(len(padded), -1)[: len(batch)])
        embeddings = np.concatenate(outputs).astype(np.float32, copy=False)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return embeddings / np.maximum(lengths, np.float32(_LEAST_LENGTH))

    return embed


def _as_taken(images: np.ndarray, model: FaceModel, graph: OnnxGraph) -> np.ndarray:
    x = model.standardization.apply(images).astype(graph.dtype, copy=False)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if graph.layout == "NCHW" else x)


def _openvino(
    model: FaceModel,
    graph: OnnxGraph,
    file: Path,
    threads: int | None,
    precision: Precision | None,
) -> tuple[Infer, str]:
    import openvino as ov

    from facenet_core.models.runtimes.openvino import compile_network, precision_of

    network = ov.Core().read_model(file)
    side, batch = model.image_size, graph.batch or -1
    nchw = graph.layout == "NCHW"
    network.reshape([batch, 3, side, side] if nchw else [batch, side, side, 3])
    compiled = compile_network(network, threads, precision)

    def infer(images: np.ndarray) -> np.ndarray:
        return compiled.create_infer_request().infer(images)[0]

    return infer, precision_of(compiled)


def _onnxruntime(graph: OnnxGraph, file: Path, threads: int | None) -> Infer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    fastest = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in fastest if name in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(str(file), options, providers)

    def infer(images: np.ndarray) -> np.ndarray:
        return session.run([graph.output], {graph.input: images})[0]

    return infer


def _refused(model: FaceModel, engine: str, error: Exception) -> ModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return ModelError(f"{model.file}: {engine} cannot run it: {reason[:300]}")
