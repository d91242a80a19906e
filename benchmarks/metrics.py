"""How long validation takes beside the embedding itself.

    python benchmarks/metrics.py [CROPS MODEL]

Prints the time of 6,000 pairs' figures with intervals (random embeddings of 512 dimensions); with
crops and a model also what reading, decoding and embedding all crops takes over embedding arrays
that are in memory already, alternating between both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.embedding.crops import decode
from facenet_core.evaluation.embeddings import embed_crops, read_crops
from facenet_core.evaluation.evaluated_pairs import faces
from facenet_core.evaluation.protocol import bootstrap
from facenet_core.evaluation.protocol.bootstrap import Sampling
from facenet_core.evaluation.protocol.identification import identify
from facenet_core.evaluation.protocol.verification import IndexedPairs, verify

PAIRS, FOLDS, PEOPLE, DIMENSIONS = 6000, 10, 4281, 512
ROUNDS = 3


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what the work returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def figures() -> None:
    """Time the protocol, its intervals, and identification of as many images as LFW has."""
    rng = np.random.default_rng(0)
    same = np.tile(np.repeat([True, False], PAIRS // FOLDS // 2), FOLDS)
    fold = np.repeat(np.arange(FOLDS), PAIRS // FOLDS)
    first = rng.integers(0, PEOPLE, PAIRS)
    second = np.where(same, first, (first + rng.integers(1, PEOPLE, PAIRS)) % PEOPLE)
    centres = rng.normal(size=(PEOPLE, DIMENSIONS))
    vectors = centres[np.concatenate([first, second])]
    vectors = (vectors + 2 * rng.normal(size=vectors.shape)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = np.array([f"person {n}" for n in range(PEOPLE)], object)
    pairs = IndexedPairs(np.arange(PAIRS), np.arange(PAIRS) + PAIRS, same, fold)
    for subtract_mean in (False, True):
        seconds, results = timed(
            lambda mean=subtract_mean: verify(vectors, pairs, subtract_mean=mean)
        )
        sampling = Sampling.of(names[first], names[second], same)
        drawing, _ = timed(
            lambda verification=results, sampling=sampling: bootstrap.replicates(
                verification, sampling, count=1000
            )
        )
        print(
            f"{PAIRS} pairs, subtract_mean {subtract_mean}: figures {seconds:.2f} s, "
            f"1,000 replicates {drawing:.2f} s"
        )
    identities = names[np.concatenate([np.arange(PEOPLE), rng.integers(0, PEOPLE, 8952)])]
    everybody = rng.normal(size=(len(identities), DIMENSIONS))
    seconds, _ = timed(lambda: identify(everybody, identities))
    print(f"identification of {len(identities)} images of {PEOPLE} people: {seconds:.2f} s")


def embedding(crops_uri: str, model_uri: str) -> None:
    """Time embedding from shards against embedding from memory, in turn."""
    from facenet_core.models.face_model import FaceModel
    from facenet_core.models.runtimes import open_runtime

    crops = storage.open_artifact(crops_uri, "align")
    ids = [image_id for image_id, _ in faces(crops)]
    runtime = open_runtime(FaceModel.load(model_uri), precision="float32")
    config = ValidateConfig(lfw_batch_size=96)
    images = np.stack([decode(crop.image_id, crop.data) for crop in read_crops(crops, {*ids})])
    runtime(images[:64])  # compiled before the clock runs
    runtime(images[: len(images) % 32])
    bare, whole = [], []
    for _ in range(ROUNDS):
        bare.append(timed(lambda: runtime(images))[0])
        whole.append(timed(lambda: embed_crops(crops, ids, runtime, config))[0])
    ratio = statistics.median(whole) / statistics.median(bare)
    print(
        f"{len(ids)} crops: embedding alone {statistics.median(bare):.2f} s, from shards "
        f"{statistics.median(whole):.2f} s, ratio {ratio:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crops", nargs="?", help="a crops artifact")
    parser.add_argument("model", nargs="?", help="a model artifact")
    arguments = parser.parse_args()
    figures()
    if arguments.model:
        embedding(arguments.crops, arguments.model)


if __name__ == "__main__":
    main()
