"""The align stage end to end beside the bare detection of other MTCNNs, on the same photographs.

    RAW=$(facenet ingest lfw.tgz | tail -1)
    python benchmarks/align.py $RAW --peers .peers/bin/python
    python benchmarks/align.py $RAW --cores 1 --engine tensorflow --peers .peers/bin/python
    python benchmarks/align.py $RAW --memory

Ours reads raw shards, decodes, detects, crops, encodes and writes crop shards, one process a core,
as its Dask workers do. The peers get decoded images in lists of each size and only detect. All are
pinned to the same cores, take turns within a round, and the medians over the rounds are printed.

``--memory`` aligns 2,000 and then 20,000 images and prints the peak memory of each worker.
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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pyarrow as pa

from facenet_core import storage
from facenet_core.alignment import faces, stage
from facenet_core.config import AlignConfig
from facenet_core.storage import parquet, schemas

HERE = Path(__file__).resolve().parent
PEERS = {"mtcnn": (1, 16, 32), "facenet-pytorch": (1, 16)}


@dataclass
class Contestant:
    """One way of doing the work: processes that answer a line on their input with a time."""

    name: str
    processes: list[subprocess.Popen[str]]
    images: int

    def turn(self) -> float:
        """Images a second."""
        start = time.perf_counter()
        for process in self.processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in self.processes:
            if not process.stdout.readline():
                raise SystemExit(f"{self.name} died")
        return self.images / (time.perf_counter() - start)

    def end(self) -> float:
        """Peak memory of all its processes, MB."""
        return sum(float(process.communicate()[0]) for process in self.processes)


@contextmanager
def started(
    command: Sequence[str], cores: set[int], **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A child pinned to `cores` that has said "ready"."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(len(cores)),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **environment,
        },
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{' '.join(command)} did not start")
        yield process
    finally:
        process.kill()
        process.wait()


def raw_shards(source: str, images: int, root: str, shards: int) -> list[str]:
    """Raw shards of the first images of a raw artifact, repeated where it has fewer."""
    uris = []
    rows = _rows(source)
    for number in range(shards):
        uri = storage.join(root, parquet.part_name(number))
        with parquet.PartWriter(uri, schemas.RAW, "benchmark") as part:
            for _ in range(number, images, shards):
                part.write(next(rows))
        uris.append(uri)
    return uris


def _rows(raw: str) -> Iterator[dict]:
    for turn in count():
        for part in storage.open_artifact(raw, "ingest").part_uris("images"):
            for group in parquet.read_row_groups(part):
                for row in group.to_pylist():
                    yield {**row, "image_id": f"{turn}/{row['image_id']}"}


def write_photographs(shards: Sequence[str], folder: Path) -> None:
    """The shards' images as files, for the peers."""
    for uri in shards:
        for group in parquet.read_row_groups(uri, ["image_id", "image"]):
            for row in group.to_pylist():
                file = folder / row["image_id"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(row["image"]["bytes"])


def work(shards: Sequence[str], engine: str) -> None:
    """The child process of ours: aligns all its shards anew for each line of its input."""
    config = AlignConfig(detector_engine=engine)
    determining = {"detector_engine": faces.resolve_runtime(config)}

    def align() -> None:
        with tempfile.TemporaryDirectory() as root:
            plan = storage.plan_stage(root, "align", "benchmark", determining, [], 1)
            for number, uri in enumerate(shards):
                stage.align_shard(plan, uri, number, config)

    align()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        align()
        print(time.perf_counter() - start, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def ours(stack: ExitStack, shards: Sequence[str], cores: list[int], options) -> Contestant:
    processes = []
    for number, core in enumerate(cores):
        mine = json.dumps(shards[number :: len(cores)])
        command = [sys.executable, __file__, "--work", mine, "--engine", options.engine]
        child = started(command, {core}, MALLOC_TRIM_THRESHOLD_="65536")  # as Dask sets it
        processes.append(stack.enter_context(child))
    return Contestant(f"align, {len(cores)} process(es)", processes, options.images)


def compare(options: argparse.Namespace, cores: list[int], shards: list[str], folder: Path) -> dict:
    """Everyone on the same cores; prints a table, returns its figures."""
    with ExitStack() as stack:
        contestants = [ours(stack, shards, cores, options)]
        if options.peers:
            for name, batches in PEERS.items():
                for batch in batches:
                    command = [options.peers, str(HERE / "peers.py"), name, str(folder)]
                    try:
                        process = stack.enter_context(
                            started([*command, "--batch", str(batch)], set(cores))
                        )
                    except SystemExit as missing:  # images of several sizes, say
                        print(f"{name} in lists of {batch}: {missing}")
                        continue
                    title = f"{name}, detection in lists of {batch}"
                    contestants.append(Contestant(title, [process], options.images))
        rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
        for turn in range(options.rounds):
            for contestant in contestants if turn % 2 == 0 else reversed(contestants):
                rates[contestant.name].append(contestant.turn())
        print(f"\n{len(cores)} core(s), {options.images} images, {options.engine}")
        own, best = statistics.median(rates[contestants[0].name]), 0.0
        for contestant in contestants:
            rate = statistics.median(rates[contestant.name])
            spread = f"{min(rates[contestant.name]):.1f} to {max(rates[contestant.name]):.1f}"
            print(
                f"{contestant.name:42} {rate:6.1f} images/s ({spread}) "
                f"{contestant.end():6.0f} MB  ours is {own / rate:4.2f}x"
            )
            if contestant is not contestants[0]:
                best = max(best, rate)
    figures = {"cores": len(cores), "images_per_second": round(own, 1)}
    return figures | ({"ratio_to_best_peer": round(own / best, 2)} if best else {})


def memory(options: argparse.Namespace, root: str) -> None:
    """Peak memory of one worker, for 2,000 images and for 20,000."""
    for images in (2_000, 20_000):
        shards = raw_shards(options.source, images, f"{root}/{images}", images // 500)
        with ExitStack() as stack:
            options.images = images
            contestant = ours(stack, shards, [0], options)
            print(f"{images:6,} images: {contestant.end():.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", help="URI of a raw artifact")
    parser.add_argument("--images", type=int, default=512, help="how many (%(default)s)")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--engine", default="auto", help="of our detector (%(default)s)")
    parser.add_argument("--peers", help="Python of the environment that has the peers")
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    if options.work is not None:
        work(options.work, options.engine)
        return
    available = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="facenet-bench-") as root:
        if options.memory:
            memory(options, root)
            return
        shards = raw_shards(options.source, options.images, root, 2 * max(options.cores))
        folder = Path(root) / "photographs"
        write_photographs(shards, folder)
        results = [compare(options, available[:number], shards, folder) for number in options.cores]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
