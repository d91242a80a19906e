"""A training step and embeddings beside facenet-pytorch: Inception-ResNet-v1, 64 × 160 pixels.

    python benchmarks/train.py CROPS --peer .peers/bin/python

Ours is the training loop as `facenet train` runs it: crops read and decoded from the local copy,
cropped and mirrored at random, softmax and center loss with weight decay, Adam, figures. Our
embeddings are those of the engine that validation takes, from crops in bytes to unit vectors.
facenet-pytorch gets ready-made batches in memory, softmax and Adam, channels-last, and bfloat16 by
autocast. Both may use all cores, and take turns; starting and compiling are not timed. CROPS is any
crops artifact of 160 pixels or more. The peer lives in an environment of its own
(`requirements-peers.txt`). Prints medians with their range and peak memory; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TextIO

import turns

BATCH, SIZE, DIMENSIONS = 64, 160, 512
PRECISIONS = ("float32", "bfloat16")
TASKS = ("train", "embed")
STEPS = {"train": 6, "embed": 10}  # of a turn
NETWORK = "inception_resnet_v1"

Turn = Callable[[], None]


def answer_turns(stream: TextIO) -> Turn:
    """Says "ready"; what is returned waits for the next turn, and says how long the last took."""
    print("ready", file=stream)
    sys.stdin.readline()
    begun = time.perf_counter()

    def next_turn() -> None:
        nonlocal begun
        print(time.perf_counter() - begun, file=stream)
        if not sys.stdin.readline():
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=stream)
            os._exit(0)
        begun = time.perf_counter()

    return next_turn


def train_ours(crops: str, precision: str, answers: TextIO) -> None:
    from facenet_core.config import TrainConfig
    from facenet_core.training import loop

    config = TrainConfig(
        model_def=NETWORK,
        image_size=SIZE,
        embedding_size=DIMENSIONS,
        batch_size=BATCH,
        epoch_size=1000,
        optimizer="adam",
        weight_decay=5e-4,
        center_loss_factor=1e-2,
        keep_probability=0.8,
        random_crop=True,
        random_flip=True,
        mixed_precision="off" if precision == "float32" else precision,
        checkpoint_every=10**6,
    )
    next_turn: Turn | None = None

    def progress(now: loop.Step) -> None:
        nonlocal next_turn
        if now.step == 2:
            next_turn = answer_turns(answers)
        elif next_turn is not None and (now.step - 2) % STEPS["train"] == 0:
            next_turn()

    root = tempfile.mkdtemp(prefix="facenet-bench-")
    plan = loop.plan_train(root, crops, config)
    loop.train(plan, config, run_id="benchmark", progress=progress)


def embed_ours(crops: str, precision: str, answers: TextIO) -> None:
    import cv2
    import numpy as np

    from facenet_core import records, storage
    from facenet_core.models import openvino_engine, registry
    from facenet_core.models.embedder import Embedder

    manifest = storage.open_artifact(crops, "align")
    part = next(part for part in manifest.parts if part.name.startswith("crops/"))
    table = records.read_table(storage.join(crops, part.name)).slice(0, BATCH)
    encoded = [row["bytes"] for row in table["image"].to_pylist()]
    pixels = [cv2.imdecode(np.frombuffer(e, np.uint8), cv2.IMREAD_COLOR_RGB) for e in encoded]
    images = np.stack([pixels[i % len(pixels)][:SIZE, :SIZE] for i in range(BATCH)])
    network = registry.build(NETWORK, image_size=SIZE, embedding_size=DIMENSIONS)
    embedder = Embedder(network, SIZE, DIMENSIONS, True, "drawn", "0" * 16)
    embed = openvino_engine.compile_embedder(embedder, precision=precision)
    found = embed(images)
    cosine = np.sum(found * embedder.embed(images), axis=1).min()
    print(f"embed {precision}: cosine to Keras in float32 at least {cosine:.6f}", file=sys.stderr)
    next_turn = answer_turns(answers)
    while True:
        for _ in range(STEPS["embed"]):
            embed(images)
        next_turn()


def facenet_pytorch(task: str, precision: str, answers: TextIO) -> None:
    import torch
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    network = InceptionResnetV1(classify=task == "train", num_classes=150, dropout_prob=0.2)
    network = network.to(memory_format=torch.channels_last).train(task == "train")
    images = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 150, (BATCH,))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=5e-4)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            logits = network(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    @torch.inference_mode()
    def embed() -> None:
        with autocast:
            network(images)

    once = step if task == "train" else embed
    once()
    once()
    next_turn = answer_turns(answers)
    while True:
        for _ in range(STEPS[task]):
            once()
        next_turn()


def work(contestant: str, task: str, precision: str, crops: str) -> None:
    answers = turns.answers()
    if contestant == "facenet-pytorch":
        facenet_pytorch(task, precision, answers)
    elif task == "train":
        train_ours(crops, precision, answers)
    else:
        embed_ours(crops, precision, answers)


def compare(task: str, precision: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Images a second and peak MB of each contestant, taking turns."""
    interpreters = {"ours": sys.executable}
    if options.peer:
        interpreters["facenet-pytorch"] = options.peer
    children = turns.start(
        {
            name: [python, __file__, options.crops, "--work", name, task, precision]
            for name, python in interpreters.items()
        }
    )
    rates: dict[str, list[float]] = {name: [] for name in children}
    for name, (seconds,) in turns.take(children, options.rounds):
        rates[name].append(STEPS[task] * BATCH / float(seconds))
    figures = {}
    for name, child in children.items():
        peak = float(child.communicate()[0].split()[-1])
        rate = statistics.median(rates[name])
        figures[name] = {"images_per_second": round(rate, 1), "peak_mb": round(peak)}
        ratio = statistics.median(rates["ours"]) / rate
        print(
            f"{task:5} {precision:8} {name:16} {rate:6.1f} images/s "
            f"({min(rates[name]):.1f} to {max(rates[name]):.1f}), {peak:5.0f} MB; "
            f"ours is {ratio:.2f}x",
            flush=True,
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", help="a crops artifact of 160 pixels or more")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (%(default)s)")
    parser.add_argument("--peer", help="Python of the environment with facenet-pytorch")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work, options.crops)
        return
    figures = {
        f"{task} {precision}": compare(task, precision, options)
        for precision in PRECISIONS
        for task in TASKS
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
