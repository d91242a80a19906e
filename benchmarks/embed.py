"""Photographs in, embeddings out: `facenet embed` beside facenet-pytorch, on the same files.

    python benchmarks/embed.py PHOTOGRAPHS --peer .peers/bin/python

Both decode the files, find the face of each (MTCNN, smallest face 20 pixels), crop it to 160 pixels
with a margin of 32, and embed it with an Inception-ResNet-v1 of 512 dimensions; ours also writes
the table. Weights are drawn, which takes as long as trained ones. facenet-pytorch gets lists of 16
photographs, what it is fastest with. Both may use all cores, and take turns; starting, loading and
compiling are not timed. The peer lives in an environment of its own (`requirements-peers.txt`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import turns

SIZE, DIMENSIONS, MARGIN, BATCH = 160, 512, 32, 16


def ours(files: Sequence[str], engine: str) -> Callable[[], int]:
    from facenet_core import FaceEmbedder
    from facenet_core.config import AlignConfig
    from facenet_core.models.face_model import FaceModel
    from facenet_core.models.networks import registry
    from facenet_core.models.standardization import FIXED
    from facenet_core.recognition import tables
    from facenet_core.recognition.photographs import read_rows
    from facenet_core.recognition.stream import embed_rows

    align = AlignConfig(image_size=SIZE, margin=MARGIN)
    embedder = FaceEmbedder("drawn", align=align, engine=engine)
    network = registry.build("inception_resnet_v1", image_size=SIZE, embedding_size=DIMENSIONS)
    embedder.face_model = FaceModel.from_network(network, FIXED, "drawn", "0" * 16)
    folder = tempfile.mkdtemp(prefix="facenet-bench-")

    def embed() -> int:
        rows = embed_rows(read_rows(files, folder), embedder)
        return tables.write(f"{folder}/embeddings.parquet", rows, "0" * 16)["faces"]

    return embed


def facenet_pytorch(files: Sequence[str]) -> Callable[[], int]:
    import torch
    from facenet_pytorch import MTCNN, InceptionResnetV1
    from PIL import Image

    detector = MTCNN(image_size=SIZE, margin=MARGIN, min_face_size=20)
    network = InceptionResnetV1(pretrained=None, classify=False).eval()

    @torch.inference_mode()
    def embed() -> int:
        result = 0
        for start in range(0, len(files), BATCH):
            images = [Image.open(file).convert("RGB") for file in files[start : start + BATCH]]
            crops = [crop for crop in detector(images) if crop is not None]
            result += len(network(torch.stack(crops)).numpy())
        return result

    return embed


def work(contestant: str, files: Sequence[str]) -> None:
    """A child: does all the work for each line of its input, and prints seconds and faces."""
    answers = turns.answers()
    peer = contestant == "facenet-pytorch"
    embed = facenet_pytorch(files) if peer else ours(files, contestant)
    embed()
    print("ready", file=answers)
    for _ in sys.stdin:
        start = time.perf_counter()
        faces = embed()
        print(time.perf_counter() - start, faces, file=answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="photographs of one size")
    parser.add_argument("--images", type=int, default=512, help="how many (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--peer", help="Python of the environment with facenet-pytorch")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    files = sorted(str(file) for file in options.folder.rglob("*") if file.is_file())
    files = files[: options.images]
    if options.work:
        work(options.work, files)
        return
    interpreters = {"openvino": sys.executable, "keras": sys.executable}
    if options.peer:
        interpreters["facenet-pytorch"] = options.peer
    rates: dict[str, list[float]] = {name: [] for name in interpreters}
    faces: dict[str, str] = {}
    arguments = [__file__, str(options.folder), "--images", str(options.images), "--work"]
    processes = turns.start(
        {name: [python, *arguments, name] for name, python in interpreters.items()}
    )
    for name, (seconds, faces[name]) in turns.take(processes, options.rounds):
        rates[name].append(len(files) / float(seconds))
    own = statistics.median(rates["openvino"])
    for name, measured in rates.items():
        processes[name].communicate()
        rate = statistics.median(measured)
        print(
            f"{name:16} {rate:6.1f} images/s ({min(measured):.1f} to {max(measured):.1f}), "
            f"{faces[name]} faces; openvino is {own / rate:.2f}x"
        )


if __name__ == "__main__":
    main()
