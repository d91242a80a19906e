"""A training step and embeddings beside facenet-pytorch: Inception-ResNet-v1, 64 × 160 pixels.

    python benchmarks/train.py CROPS --peer .peers/bin/python [.newest/bin/python] [--compile]

Ours is the training loop as `facenet train` runs it: crops read and decoded from the local copy,
cropped and mirrored at random, softmax and center loss with weight decay, Adam, figures. Our
embeddings are those of the engine that validation takes, from crops in bytes to unit vectors.
facenet-pytorch gets ready-made batches in memory, softmax and Adam, channels-last, and bfloat16 by
autocast; with `--compile` also by `torch.compile`. All may use all cores, and take turns; starting
and compiling are not timed. CROPS is any crops artifact of 160 pixels or more. Each peer lives in
an environment of its own (`requirements-peers.txt`). Prints medians with their range and peak
memory; the last line is JSON.

Where there is a GPU both use it, and its load is printed; turns should take some seconds there:

    KERAS_BACKEND=jax python benchmarks/train.py CROPS --peer python --steps 400
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TextIO

import turns
from gpu_load import Load

SIZE, DIMENSIONS = 160, 512
PRECISIONS = ("float32", "bfloat16")
TASKS = ("train", "embed")
NETWORK = "inception_resnet_v1"
PEER, COMPILED = "facenet-pytorch", ", compiled"

Turn = Callable[[], None]


@dataclass(frozen=True)
class Work:
    """What a contestant does: `steps` a turn, of `batch` images each."""

    crops: str
    task: str
    precision: str
    batch: int
    steps: int


def answer_turns(stream: TextIO) -> Turn:
    """Says "ready"; what is returned waits for the next turn, and says how long the last took."""
    print("ready", file=stream)
    sys.stdin.readline()
    begun = time.perf_counter()

    def next_turn() -> None:
        nonlocal begun
        print(time.perf_counter() - begun, file=stream)
        if not sys.stdin.readline():
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, file=stream)
            os._exit(0)
        begun = time.perf_counter()

    return next_turn


def train_ours(work: Work, answers: TextIO) -> None:
    from facenet_core.config import TrainConfig
    from facenet_core.training import stage

    config = TrainConfig(
        model_def=NETWORK,
        image_size=SIZE,
        embedding_size=DIMENSIONS,
        batch_size=work.batch,
        epoch_size=10**5,
        optimizer="adam",
        weight_decay=5e-4,
        center_loss_factor=1e-2,
        keep_probability=0.8,
        random_crop=True,
        random_flip=True,
        mixed_precision="off" if work.precision == "float32" else work.precision,
        checkpoint_every=10**6,
    )
    next_turn: Turn | None = None

    def progress(now: stage.Step) -> None:
        # Not earlier, as training chooses what Keras is imported with.
        from facenet_core.training.trainer import WINDOW

        # Where figures are looked at, all steps have been done, also those of a GPU.
        nonlocal next_turn
        if now.step == WINDOW:
            next_turn = answer_turns(answers)
        elif next_turn is not None and (now.step - WINDOW) % work.steps == 0:
            next_turn()

    root = tempfile.mkdtemp(prefix="facenet-bench-")
    plan = stage.plan_train(root, work.crops, config)
    stage.train(plan, config, run_id="benchmark", progress=progress)


def embed_ours(work: Work, answers: TextIO) -> None:
    import cv2
    import numpy as np

    from facenet_core import storage
    from facenet_core.models.face_model import FaceModel
    from facenet_core.models.networks import registry
    from facenet_core.models.runtimes import open_runtime
    from facenet_core.models.standardization import FIXED
    from facenet_core.storage import parquet

    manifest = storage.open_artifact(work.crops, "align")
    part = next(part for part in manifest.parts if part.name.startswith("crops/"))
    table = parquet.read_table(storage.join(work.crops, part.name)).slice(0, work.batch)
    encoded = [row["bytes"] for row in table["image"].to_pylist()]
    pixels = [cv2.imdecode(np.frombuffer(e, np.uint8), cv2.IMREAD_COLOR_RGB) for e in encoded]
    images = np.stack([pixels[i % len(pixels)][:SIZE, :SIZE] for i in range(work.batch)])
    network = registry.build(NETWORK, image_size=SIZE, embedding_size=DIMENSIONS)
    model = FaceModel.from_network(network, FIXED, "drawn", "0" * 16)
    embed = open_runtime(model, precision=work.precision)
    cosine = np.sum(embed(images) * model.embed(images), axis=1).min()
    print(
        f"{embed.engine}, {work.precision}: cosine to Keras in float32 ≥ {cosine:.6f}",
        file=sys.stderr,
    )
    embed(images)
    next_turn = answer_turns(answers)
    while True:
        for _ in range(work.steps):
            embed(images)
        next_turn()


def facenet_pytorch(work: Work, answers: TextIO, compiled: bool) -> None:
    import torch
    from facenet_pytorch import InceptionResnetV1

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    training = work.task == "train"
    network = InceptionResnetV1(classify=training, num_classes=150, dropout_prob=0.2)
    network = network.to(device, memory_format=torch.channels_last).train(training)
    images = torch.randn(work.batch, 3, SIZE, SIZE).to(device, memory_format=torch.channels_last)
    labels = torch.randint(0, 150, (work.batch,), device=device)
    run = torch.compile(network) if compiled else network
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=5e-4)
    autocast = torch.autocast(device, torch.bfloat16, enabled=work.precision == "bfloat16")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            logits = run(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    @torch.inference_mode()
    def embed() -> None:
        with autocast:
            run(images)

    def some(count: int) -> None:
        for _ in range(count):
            step() if training else embed()
        if device == "cuda":
            torch.cuda.synchronize()

    some(10)
    next_turn = answer_turns(answers)
    while True:
        some(work.steps)
        next_turn()


def contend(contestant: str, work: Work) -> None:
    answers = turns.answers()
    if contestant.startswith(PEER):
        facenet_pytorch(work, answers, compiled=contestant.endswith(COMPILED))
    elif work.task == "train":
        train_ours(work, answers)
    else:
        embed_ours(work, answers)


def compare(
    task: str, precision: str, load: Load, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Images a second, peak MB and the GPU's load of each contestant, taking turns."""
    interpreters = {"ours": sys.executable}
    for python in options.peer:
        version = subprocess.check_output([python, "-c", "import torch; print(torch.__version__)"])
        name = f"{PEER}, torch {version.decode().strip()}"
        interpreters |= {name + how: python for how in ("", *[COMPILED] * options.compile)}
    work = Work(options.crops, task, precision, options.batch, options.steps)
    text = json.dumps(asdict(work))
    children = turns.start(
        {
            name: [python, __file__, options.crops, "--work", name, text]
            for name, python in interpreters.items()
        }
    )
    rates: dict[str, list[float]] = {name: [] for name in children}
    busy: dict[str, list[float]] = {name: [] for name in children}
    load.take()
    for name, (seconds,) in turns.take(children, options.rounds):
        rates[name].append(work.steps * work.batch / float(seconds))
        busy[name].append(load.take())
    figures = {}
    for name, child in children.items():
        peak = float(child.communicate()[0].split()[-1])
        rate, percent = statistics.median(rates[name]), statistics.median(busy[name])
        figures[name] = {"images_per_second": round(rate, 1), "peak_mb": round(peak)}
        gpu = "" if math.isnan(percent) else f", GPU busy {percent:.0f} %"
        if gpu:
            figures[name]["gpu_percent"] = round(percent)
        ratio = statistics.median(rates["ours"]) / rate
        print(
            f"{task:5} {precision:8} {name:45} {rate:6.1f} images/s "
            f"({min(rates[name]):.1f} to {max(rates[name]):.1f}), {peak:5.0f} MB{gpu}; "
            f"ours is {ratio:.2f}x",
            flush=True,
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", help="a crops artifact of 160 pixels or more")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="of a turn (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images of a step (%(default)s)")
    parser.add_argument(
        "--peer", nargs="+", default=[], help="Python of each environment with facenet-pytorch"
    )
    parser.add_argument("--compile", action="store_true", help="peers also by torch.compile")
    parser.add_argument("--only", nargs=2, metavar=("TASK", "PRECISION"), help="of the four")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, text = options.work
        contend(name, Work(**json.loads(text)))
        return
    if options.steps % 10:  # at others a GPU may still be at work
        parser.error(f"--steps {options.steps}: expected a multiple of 10")
    every = list(itertools.product(TASKS, PRECISIONS))
    asked = [tuple(options.only)] if options.only else every
    if not {*asked} <= {*every}:
        parser.error(f"--only {' '.join(options.only)}: expected one of {every}")
    load = Load()
    figures = {f"{task} {manner}": compare(task, manner, load, options) for task, manner in asked}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
