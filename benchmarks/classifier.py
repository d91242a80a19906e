"""A step of training on very many people: the whole classifier, a sample of it, divided, or both.

    python classifier.py [--classes 100000] [--dimensions 128] [--batch 64]

A small network on images of 32 pixels, softmax and center loss, momentum. Each contestant is a
process; they run in turn, several times. Step: the median of all. Peak: of the process, with all
of its devices. Weights on a device: classifier, centers and what the optimizer remembers of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

WARM_UP = 5
CONTESTANTS = {
    "TensorFlow, one device, all": ("tensorflow", 1, {}),
    "TensorFlow, one device, a tenth": ("tensorflow", 1, {"classifier_sample_rate": 0.1}),
    "JAX, one device, all": ("jax", 1, {}),
    "JAX, one device, a tenth": ("jax", 1, {"classifier_sample_rate": 0.1}),
    "JAX, eight devices, all": ("jax", 8, {}),
    "JAX, eight devices, divided": ("jax", 8, {"classifier_sharding": True}),
    "JAX, eight devices, divided, a tenth": (
        "jax",
        8,
        {"classifier_sharding": True, "classifier_sample_rate": 0.1},
    ),
}


def measure(name: str, options: argparse.Namespace) -> None:
    """In a process of its own: prints seconds of each step, and bytes."""
    import numpy as np

    sys.path.insert(0, str(Path(__file__).parent))
    from scale import network

    from facenet_core.config import TrainConfig
    from facenet_core.training import augmentation, optimizers
    from facenet_core.training.engine import distribution
    from facenet_core.training.ranks import ALONE
    from facenet_core.training.step import TrainStep

    backend, devices, fields = CONTESTANTS[name]
    config = TrainConfig(
        image_size=32,
        embedding_size=options.dimensions,
        batch_size=options.batch,
        center_loss_factor=0.01,
        data_parallel=devices > 1,
        **fields,
    )
    random = np.random.default_rng(0)
    shape = augmentation.Augmentation.of(config)
    with distribution.shared(config, ALONE):
        small = network(
            image_size=32,
            embedding_size=options.dimensions,
            keep_probability=1.0,
            weight_decay=0.0,
            batch_norm_decay=0.9,
            seed=1,
        )
        train_step = TrainStep(small, options.classes, config)
        optimizer = optimizers.build("momentum", 0.01, 0.0)
        optimizer.build(train_step.trainable_variables)
        train_step.compile(optimizer, jit_compile=backend == "jax")
        train_step.sample_classes(optimizer)
        variables = [*train_step.variables, *optimizer.variables]
        seconds = []
        for step in range(WARM_UP + options.steps):
            labels = random.integers(0, options.classes, options.batch).astype(np.int32)
            batch = {
                "images": random.integers(0, 256, (options.batch, 32, 32, 3), np.uint8),
                "drawn": augmentation.central(shape, options.batch, (32, 32)),
            }
            if train_step.class_sample is not None:
                classes, places = train_step.class_sample.of_step(step, labels)
                batch |= {"classes": classes, "places": places}
            began = time.perf_counter()
            train_step.train_on_batch(batch, labels, return_dict=True)
            train_step.value(train_step.sums)  # waits for the step
            seconds.append(time.perf_counter() - began)
        of_classes = [
            np.prod(train_step.value(v).shape if backend != "jax" else _on_a_device(train_step, v))
            for v in variables
            if any(word in v.path for word in ("Logits", "centers"))
        ]
    figures = {
        "seconds": seconds[WARM_UP:],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "weights": 4 * float(sum(of_classes)),
    }
    print(json.dumps(figures))


def _on_a_device(train_step: object, variable: object) -> tuple[int, ...]:
    array = train_step._steps.array(variable)
    return array.addressable_shards[0].data.shape


def run(name: str, options: argparse.Namespace) -> dict:
    backend, devices, _ = CONTESTANTS[name]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    words = [sys.executable, __file__, "--one", name]
    for field in ("classes", "dimensions", "batch", "steps"):
        words += [f"--{field}", str(getattr(options, field))]
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one, options)
        return
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    last: dict[str, dict] = {}
    for _ in range(options.rounds):
        for name in CONTESTANTS:
            last[name] = run(name, options)
            seconds[name] += last[name]["seconds"]
    print("| classifier | ms a step | ratio | peak, MiB | weights of classes on a device, MiB |")
    print("|---|--:|--:|--:|--:|")
    for name in CONTESTANTS:
        whole = name.split(", ")
        first = next(other for other in CONTESTANTS if other.split(", ")[:2] == whole[:2])
        step, base = statistics.median(seconds[name]), statistics.median(seconds[first])
        print(
            f"| {name} | {1000 * step:.0f} | {step / base:.2f} | {last[name]['peak'] / 2**20:,.0f} "
            f"| {last[name]['weights'] / 2**20:,.0f} |"
        )


if __name__ == "__main__":
    main()
