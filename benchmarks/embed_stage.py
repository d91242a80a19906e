"""The embed stage: two worker processes beside one, and beside one process that uses all cores.

    python benchmarks/embed_stage.py CROPS MODEL

A worker reads, decodes, embeds and writes shards of crops as on Dask: a process with one thread.
The single process is what `facenet embed` was before the stage: one pass over the same crops into
one table, the model on all cores. Shards are the crops of the artifact, repeated where it has
fewer. Contestants take turns; starting, loading and compiling are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice

import turns

from facenet_core import storage
from facenet_core.config import EmbedConfig
from facenet_core.storage import Input, Plan, parquet, schemas

SHARDS = 8


def shards_of(crops_uri: str, crops: int, folder: str) -> list[str]:
    """Shards with so many crops in all, of the artifact's from its first on."""
    uris = [storage.join(folder, parquet.part_name(number)) for number in range(SHARDS)]
    rows = islice(_rows(crops_uri), crops)
    for number, uri in enumerate(uris):
        with parquet.PartWriter(uri, schemas.CROPS, "benchmark") as part:
            for row in islice(rows, crops // SHARDS + (number < crops % SHARDS)):
                part.write(row)
    return uris


def _rows(crops_uri: str) -> Iterator[dict[str, object]]:
    for part in cycle(storage.open_artifact(crops_uri, "align").part_uris("crops")):
        for group in parquet.read_row_groups(part):
            yield from group.to_pylist()


def worker(shards: Sequence[str], model_uri: str) -> Callable[[], None]:
    """The stage on these shards, as a Dask worker does it."""
    from facenet_core.embedding import stage

    model = storage.open_artifact(model_uri, "train").as_input()
    config = EmbedConfig()

    def embed() -> None:
        with tempfile.TemporaryDirectory() as root:
            values = config.determining()
            inputs = (Input("benchmark", "0" * 16), model)
            plan: Plan = storage.plan_stage(root, "embed", "benchmark", values, inputs, 1)
            for number, shard in enumerate(shards):
                stage.embed_shard(plan, shard, number, config)

    return embed


def single_process(shards: Sequence[str], model_uri: str) -> Callable[[], None]:
    """All crops in one pass into one table, the model on all cores."""
    from facenet_core import FaceEmbedder
    from facenet_core.recognition import tables
    from facenet_core.recognition.stream import embed_rows

    embedder = FaceEmbedder(model_uri)

    def rows() -> Iterator[dict[str, object]]:
        for shard in shards:
            for group in parquet.read_row_groups(shard):
                yield from group.to_pylist()

    def embed() -> None:
        with tempfile.TemporaryDirectory() as folder:
            faces = embed_rows(rows(), embedder, every_face=True, aligned=True)
            tables.write(f"{folder}/embeddings.parquet", faces, "0" * 16)

    return embed


def work(job: dict[str, object]) -> None:
    """A child: does its work for each line of its input, and prints seconds; at the end its MB."""
    answers = turns.answers()
    if job["cores"]:
        os.sched_setaffinity(0, job["cores"])  # type: ignore[arg-type]
    contestant = worker if job["stage"] else single_process
    embed = contestant(job["shards"], job["model"])  # type: ignore[arg-type]
    embed()
    print("ready", file=answers)
    for _ in sys.stdin:
        started = time.perf_counter()
        embed()
        print(time.perf_counter() - started, file=answers)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=answers)


def turn(children: Sequence[subprocess.Popen[str]]) -> float:
    """Seconds until the last of them is done."""
    started = time.perf_counter()
    for child in children:
        child.stdin.write("go\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
    for child in children:
        child.stdout.readline()  # type: ignore[union-attr]
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", nargs="?", help="URI of a crops artifact")
    parser.add_argument("model", nargs="?", help="URI of a model artifact")
    parser.add_argument("--images", type=int, default=1024, help="how many (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work)
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory(prefix="facenet-bench-") as folder:
        shards = shards_of(options.crops, options.images, folder)
        common = {"model": options.model}
        jobs = {
            "one worker": [{"stage": True, "shards": shards, "cores": cores[:1]}],
            "two workers": [
                {"stage": True, "shards": shards[n::2], "cores": [core]}
                for n, core in enumerate(cores)
            ],
            "one process, all cores": [{"stage": False, "shards": shards, "cores": []}],
        }
        commands = {
            f"{name} {number}": [sys.executable, __file__, "--work", json.dumps(common | job)]
            for name, of_name in jobs.items()
            for number, job in enumerate(of_name)
        }
        children = turns.start(commands)
        contestants = {
            name: [children[f"{name} {number}"] for number in range(len(of_name))]
            for name, of_name in jobs.items()
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(options.rounds):
            order = list(contestants)
            for name in order if number % 2 == 0 else reversed(order):
                rates[name].append(options.images / turn(contestants[name]))
        one = statistics.median(rates["one worker"])
        for name, of_name in contestants.items():
            peak = sum(float(child.communicate()[0]) for child in of_name)
            rate = statistics.median(rates[name])
            spread = f"{min(rates[name]):.1f} to {max(rates[name]):.1f}"
            print(f"{name:24} {rate:6.1f} images/s ({spread}), {peak:5.0f} MB, {rate / one:.2f}x")


if __name__ == "__main__":
    main()
