"""ONNX networks on OpenVINO or onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facenet_core.errors import FacenetError, ModelError
from facenet_core.models.face_model import FaceModel, fit
from facenet_core.models.formats import onnx_file
from facenet_core.models.runtimes import Embed, Precision, Runtime
from facenet_core.runtime import quietly

_BATCH = 16  # of a graph that takes any number
_LEAST_LENGTH = 1e-10  # what shorter embeddings are divided by

# Images as the network takes them -> its output.
Infer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Network:
    """A network ready to run; the attributes are those of `OnnxGraph`."""

    infer: Infer
    layout: str
    dtype: str
    batch: int | None
    precision: str


def open_model(
    model: FaceModel, engine: str, threads: int | None, precision: Precision | None
) -> Runtime:
    """The model on `openvino` or `onnxruntime`; see `open_runtime`."""
    try:
        with quietly():
            if engine == "openvino":
                network = _openvino(model, threads, precision)
            else:
                network = _onnxruntime(model, threads)
    except FacenetError:
        raise
    except Exception as error:  # of either runtime
        raise _refused(model, engine, error) from None
    return Runtime(model, engine, network.precision, _embedder(model, engine, network))


def _openvino(model: FaceModel, threads: int | None, precision: Precision | None) -> _Network:
    import openvino as ov

    from facenet_core.models.runtimes.openvino import compile_network, precision_of

    def build() -> ov.Model:
        with onnx_file.fetched(str(model.file)) as (local, graph):
            network = ov.Core().read_model(local)
        side, batch = model.image_size, graph.batch or -1
        nchw = graph.layout == "NCHW"
        network.reshape([batch, 3, side, side] if nchw else [batch, side, side, 3])
        return network

    compiled = compile_network(model, build, threads, precision)
    taken = compiled.input(0)
    batch, channels, *_ = taken.get_partial_shape()

    def infer(images: np.ndarray) -> np.ndarray:
        return compiled.create_infer_request().infer(images)[0]

    return _Network(
        infer,
        "NCHW" if channels == 3 else "NHWC",
        np.dtype(taken.get_element_type().to_dtype()).name,
        batch.get_length() if batch.is_static else None,
        precision_of(compiled),
    )


def _onnxruntime(model: FaceModel, threads: int | None) -> _Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    fastest = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in fastest if name in onnxruntime.get_available_providers()]
    with onnx_file.fetched(str(model.file)) as (local, graph):
        session = onnxruntime.InferenceSession(str(local), options, providers)

    def infer(images: np.ndarray) -> np.ndarray:
        return session.run([graph.output], {graph.input: images})[0]

    return _Network(infer, graph.layout, graph.dtype, graph.batch, "float32")


def _embedder(model: FaceModel, engine: str, network: _Network) -> Embed:
    largest = network.batch or _BATCH

    def embed(images: np.ndarray) -> np.ndarray:
        images = fit(images, model.image_size)
        outputs = [np.empty((0, model.embedding_size), np.float32)] if len(images) == 0 else []
        for start in range(0, len(images), largest):
            batch = images[start : start + largest]
            padding = (network.batch or len(batch)) - len(batch)
            padded = np.pad(batch, ((0, padding), (0, 0), (0, 0), (0, 0)))
            x = model.standardization.apply(padded).astype(network.dtype, copy=False)
            x = x.transpose(0, 3, 1, 2) if network.layout == "NCHW" else x
            try:
                output = network.infer(np.ascontiguousarray(x))
            except Exception as error:
                raise _refused(model, engine, error) from None
            outputs.append(output.reshape(len(padded), -1)[: len(batch)])
        embeddings = np.concatenate(outputs).astype(np.float32, copy=False)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return embeddings / np.maximum(lengths, np.float32(_LEAST_LENGTH))

    return embed


def _refused(model: FaceModel, engine: str, error: Exception) -> ModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return ModelError(f"{model.file}: {engine} cannot run it: {reason[:300]}")
