"""Images per second of the face detector beside other MTCNNs, on the same photographs.

    python benchmarks/detector.py ../lfw --images 160 --threads 1
    python benchmarks/detector.py ../lfw --threads 1 --processes 2

Compared are this project, the package mtcnn and, where it is installed, facenet-pytorch. Each gets
the same decoded images in lists of 16. The engines take turns within a round, all processes run
the same engine at the same time, and the median over the rounds is printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

Engine = Callable[[list[np.ndarray]], int]  # from images to the number of faces found


def ours() -> Engine:
    from facenet_core.alignment.mtcnn import MTCNN

    detector = MTCNN()
    return lambda images: sum(map(len, detector.detect(images)))


def mtcnn() -> Engine:
    from mtcnn import MTCNN

    detector = MTCNN()
    return lambda images: sum(map(len, detector.detect_faces(images)))


def facenet_pytorch() -> Engine:
    from facenet_pytorch import MTCNN

    detector = MTCNN(keep_all=True)

    def detect(images: list[np.ndarray]) -> int:
        boxes, _ = detector.detect(images)
        return sum(len(found) for found in boxes if found is not None)

    return detect


def engines() -> dict[str, Callable[[], Engine]]:
    """What can be compared here, ours first."""
    chosen = {"facenet-pipeline": ours, "mtcnn": mtcnn}
    if find_spec("facenet_pytorch"):
        chosen["facenet-pytorch"] = facenet_pytorch
    return chosen


def measure(options: argparse.Namespace, together: Barrier) -> list[tuple[str, float, int]]:
    """(engine, seconds, faces) for each round and engine."""
    import cv2
    import tensorflow as tf

    from facenet_core.alignment.images import decode

    if options.threads:
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(options.threads)
        cv2.setNumThreads(options.threads)
    files = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in {".jpg", ".png"})
    files = files[:: max(1, len(files) // options.images)][: options.images]
    if not files:
        raise SystemExit(f"no photographs (.jpg, .png) in {options.folder}")
    images = [decode(file.read_bytes()) for file in files]
    lists = [images[i : i + options.batch] for i in range(0, len(images), options.batch)]
    ready = {name: make() for name, make in engines().items()}
    for engine in ready.values():
        engine(lists[0])
    results = []
    for round_number in range(options.rounds):
        order = list(ready) if round_number % 2 == 0 else list(reversed(ready))
        for name in order:
            together.wait()
            start = time.perf_counter()
            faces = sum(map(ready[name], lists))
            results.append((name, (time.perf_counter() - start) / len(images), faces))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="photographs, at any depth")
    parser.add_argument("--images", type=int, default=160, help="how many of them (%(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="images in a list (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--threads", type=int, help="of each process; default: the engine's own")
    parser.add_argument("--processes", type=int, default=1, help="(%(default)s)")
    options = parser.parse_args()

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        together = manager.Barrier(options.processes)
        with context.Pool(options.processes) as pool:
            per_process = pool.starmap(
                measure, [(options, together)] * options.processes, chunksize=1
            )
    print(f"{options.processes} process(es), threads {options.threads or 'default'}")
    base = None
    for name in engines():
        runs = [[run for run in results if run[0] == name] for results in per_process]
        rate = sum(1 / statistics.median(seconds for _, seconds, _ in run) for run in runs)
        base = base or rate
        print(f"{name:18} {rate:7.1f} images/s  ours is {base / rate:4.2f}x  {runs[0][0][2]} faces")


if __name__ == "__main__":
    main()
