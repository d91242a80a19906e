"""The training input alone, beside nothing but decoding.

    python benchmarks/input_pipeline.py CROPS

CROPS (a finished crops artifact) is written several times over, under other names, as one artifact
of 40 parts: large enough that a stream cannot keep it in memory. Then, in turn and on the same
number of threads, images a second of

    bare decode       OpenCV over the same encoded crops in memory, pixels thrown away
    local copy        batches as the trainer gets them, from the memory-mapped copy
    local stream      the same, from the shards of a local folder, read as it goes
    S3, copied first  the first pass of a training: copying from an S3 server, then batches
    S3 stream         the first pass of one that streams, its index of the shards included

The S3 server (that of `make s3`) shares the cores. Last, memory after each of ten
passes, for both ways of reading, each in a process of its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bucket import bucket
from copies import write_copies

BATCH = 90
GOALS = {"local copy": 0.8, "local stream": 0.8, "S3, copied first": 0.5, "S3 stream": 0.5}


def open_feed(uri: str, read_crops: str, threads: int) -> tuple[Callable[[int], int], int]:
    """A function that goes through pass n as the trainer would, and the images of a pass."""
    from facenet_core.config import TrainConfig
    from facenet_core.training.input import batches, data

    config = TrainConfig(
        image_size=96,
        batch_size=BATCH,
        random_crop=True,
        random_flip=True,
        read_crops=read_crops,
        nrof_preprocess_threads=threads,
    )
    opened = data.open_data(uri, config)
    feed = batches.build(opened, config, None)
    steps = len(opened.selection.training) // BATCH

    def go_through(number: int) -> int:
        for _ in feed.batches(number * steps, (number + 1) * steps):
            pass
        return steps * BATCH

    return go_through, steps * BATCH


def bare_decode(uri: str, threads: int) -> Callable[[int], int]:
    import cv2
    import numpy as np

    from facenet_core import storage
    from facenet_core.training.input.cache import open_copy

    crops = open_copy(storage.open_artifact(uri, "align"))
    encoded = [picture.tobytes() for picture in crops.encoded(range(len(crops)))]

    def decode(start: int) -> None:
        for picture in encoded[start : start + BATCH]:
            cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_RGB)

    def go_through(_: int) -> int:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, range(0, len(encoded), BATCH)))
        return len(encoded)

    return go_through


def first_pass(uri: str, read_crops: str, threads: int) -> Callable[[int], int]:
    """Opening included."""
    return lambda number: open_feed(uri, read_crops, threads)[0](number)


def forget_copy(uri: str) -> None:
    """So that the next pass is a first one."""
    from facenet_core import storage
    from facenet_core.training.input.cache import path_of

    path_of(storage.open_artifact(uri, "align")).unlink(missing_ok=True)


def print_memory(uri: str, read_crops: str, threads: int, passes: int) -> None:
    """One line: resident memory in MiB after each pass (without what is mapped from files)."""
    go_through, _ = open_feed(uri, read_crops, threads)
    results = []
    for number in range(passes):
        go_through(number)
        status = Path("/proc/self/status").read_text()
        results.append(int(status.split("RssAnon:")[1].split()[0]) // 1024)
    print(json.dumps(results))


def memory(uri: str, read_crops: str, threads: int, passes: int) -> list[int]:
    command = [sys.executable, __file__, uri, "--memory-of", read_crops]
    command += ["--threads", str(threads), "--passes", str(passes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", help="URI of a crops artifact")
    parser.add_argument("--copies", type=int, default=12, help="of its crops (%(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--passes", type=int, default=10, help="for memory (%(default)s)")
    parser.add_argument("--memory-of", choices=["cache", "stream"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print_memory(options.crops, options.memory_of, options.threads, options.passes)
        return
    with tempfile.TemporaryDirectory() as folder, bucket(Path(folder)) as remote_root:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        local = write_copies(options.crops, options.copies, f"{folder}/store")
        remote = write_copies(options.crops, options.copies, remote_root)
        threads = options.threads
        ways = {
            "bare decode": bare_decode(local, threads),
            "local copy": open_feed(local, "cache", threads)[0],
            "local stream": open_feed(local, "stream", threads)[0],
            "S3, copied first": first_pass(remote, "cache", threads),
            "S3 stream": first_pass(remote, "stream", threads),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        cpu = dict.fromkeys(ways, 0.0)
        images = 0
        for number in range(options.rounds):
            for name, go_through in ways.items():
                forget_copy(remote)
                wall, own = time.perf_counter(), time.process_time()
                images = go_through(number)
                speeds[name].append(images / (time.perf_counter() - wall))
                cpu[name] += (time.process_time() - own) / images / options.rounds
        results = {name: statistics.median(values) for name, values in speeds.items()}
        ratios = {name: results[name] / results["bare decode"] for name in GOALS}
        print(f"{images:,} images, {threads} threads, medians of {options.rounds} rounds")
        for name, speed in results.items():
            spread = f"{min(speeds[name]):,.0f} to {max(speeds[name]):,.0f}"
            goal = f", {ratios[name]:.2f} of bare (goal {GOALS[name]})" if name in GOALS else ""
            print(
                f"{name:17}{speed:8,.0f} images/s ({spread}), "
                f"{1e6 * cpu[name]:.0f} µs of CPU an image{goal}"
            )
        flat = {way: memory(local, way, threads, options.passes) for way in ("cache", "stream")}
        for way, values in flat.items():
            print(f"memory, {way}: {' '.join(map(str, values))} MiB after each pass")
        print(json.dumps({"images_per_second": results, "ratios": ratios, "memory_mib": flat}))


if __name__ == "__main__":
    main()
