"""Bare face detection by other projects: the child process of ``align.py``, in the peers' own
environment (``requirements-peers.txt``), which knows nothing of this project.

    python benchmarks/peers.py mtcnn FOLDER --batch 16

Decodes the photographs below FOLDER, says "ready", and for each line of its input detects the faces
in all of them and prints the seconds and the number of faces; at the end its peak memory in MB.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import turns
from PIL import Image

Detect = Callable[[list[np.ndarray]], int]


def mtcnn(threads: int) -> Detect:
    import tensorflow as tf
    from mtcnn import MTCNN

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    detector = MTCNN()

    def detect(images: list[np.ndarray]) -> int:
        if len(images) == 1:
            return len(detector.detect_faces(images[0]))
        return sum(map(len, detector.detect_faces(images)))

    return detect


def facenet_pytorch(threads: int) -> Detect:
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    detector = MTCNN(keep_all=True)

    def detect(images: list[np.ndarray]) -> int:
        boxes, _ = detector.detect(np.stack(images))
        return sum(len(of_image) for of_image in boxes if of_image is not None)

    return detect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["mtcnn", "facenet-pytorch"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    answers = turns.answers()
    threads = len(os.sched_getaffinity(0))
    detect = {"mtcnn": mtcnn, "facenet-pytorch": facenet_pytorch}[options.engine](threads)
    files = sorted(file for file in options.folder.rglob("*") if file.is_file())
    images = [np.array(Image.open(file).convert("RGB")) for file in files]
    lists = [images[i : i + options.batch] for i in range(0, len(images), options.batch)]
    detect(lists[0])
    print("ready", file=answers)
    for _ in sys.stdin:
        start = time.perf_counter()
        faces = sum(map(detect, lists))
        print(time.perf_counter() - start, faces, file=answers)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=answers)


if __name__ == "__main__":
    main()
