"""One model in all forms that it is read in and exported to: do they give the same numbers?

    python benchmarks/model_forms.py CROPS PAIRS MODEL … [--exports onnx savedmodel tflite float16]

Each MODEL (a folder, .h5, .pt, .safetensors, artifact) is run on the crops of the pairs in float32,
and so is each export of the first. Prints accuracy, VAL and AUC of each, and the least and mean
cosine of 100 crops' embeddings with those of the first.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CROPS = 100  # that cosines are taken of
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("crops", help="URI of a crops artifact")
    parser.add_argument("pairs", help="pairs of it")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--exports", nargs="*", default=[])
    options = parser.parse_args()

    from facenet_core import storage
    from facenet_core.config import ValidateConfig
    from facenet_core.evaluation.embeddings import embed_crops
    from facenet_core.evaluation.evaluated_pairs import choose_pairs
    from facenet_core.evaluation.protocol.verification import verify
    from facenet_core.models import import_model
    from facenet_core.models.formats.export import export, least_cosine, open_exported
    from facenet_core.models.runtimes import Runtime, open_runtime

    config = ValidateConfig(pairs=options.pairs)
    crops = storage.open_artifact(storage.absolute(options.crops), "align")
    pairs = choose_pairs(crops, config)
    reference: np.ndarray | None = None
    print("| form | accuracy | VAL | AUC | least cosine | mean cosine | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)

    def measure(name: str, runtime: Runtime) -> None:
        nonlocal reference
        started = time.monotonic()
        embeddings = embed_crops(crops, pairs.image_ids(), runtime, config)
        seconds = time.monotonic() - started
        result = verify(embeddings.vectors, pairs.indexed(embeddings))
        first = embeddings.vectors[:CROPS].astype(np.float64)
        reference = first if reference is None else reference
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(reference, axis=1)
        cosines = np.sum(first * reference, axis=1) / lengths
        print(
            f"| {name} | {result.accuracy:.4f} | {result.val_rate:.4f} | {result.auc:.4f} "
            f"| {least_cosine(first, reference):.7f} | {cosines.mean():.7f} | {seconds:.0f} |",
            flush=True,
        )

    for uri in options.models:
        model = import_model.load(uri)
        measure(posixpath.basename(uri), open_runtime(model, precision="float32"))
    if not options.exports:
        return
    model = import_model.load(options.models[0])
    with tempfile.TemporaryDirectory() as folder:
        for name in options.exports:
            kind = "tflite" if name == "float16" else name
            exported = export(model, kind, folder, name == "float16")
            path = Path(exported.uri)
            run = in_batches(open_exported(path, kind))
            measure(f"{name}, {exported.bytes / 1e6:.0f} MB", Runtime(model, name, "float32", run))


def in_batches(run: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A function for few images as one for many."""

    def embed(images: np.ndarray) -> np.ndarray:
        parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        return np.concatenate([run(np.ascontiguousarray(part)) for part in parts])

    return embed


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
