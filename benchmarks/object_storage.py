"""Alignment and the training input from a bucket, beside the same from a local folder.

    python benchmarks/object_storage.py RAW CROPS [--rounds 3]

Starts the S3 server of `make s3`, copies RAW, and CROPS four times over, into its bucket and into a
folder of the same disk, and takes turns: aligns two shards (160 pixels, margin 32) on one core, and
takes the first pass over all crops, as training does: copied to the local cache, then decoded on
all cores.
Programs are loaded and compiled before. Prints images a second, medians, and the ratio of bucket
to folder; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from bucket import bucket
from copies import write_copies

from facenet_core import storage
from facenet_core.alignment import stage
from facenet_core.config import AlignConfig
from facenet_core.training.input import cache
from facenet_core.training.input import crops as inputs

SHARDS, COPIES = 2, 4
BATCH = 64


def align(root: str, raw: str) -> tuple[float, str]:
    """Photographs a second through the first shards, and where their crops are."""
    config = AlignConfig(image_size=160, margin=32)
    source = storage.open_artifact(raw, "ingest")
    plan = stage.plan_align(root, source, config)
    begun = time.perf_counter()
    parts = source.part_uris("images")[:SHARDS]
    summaries = [stage.align_shard(plan, part, n, config) for n, part in enumerate(parts)]
    seconds = time.perf_counter() - begun
    return sum(summary.images for summary in summaries) / seconds, plan.uri


def first_pass(crops: str) -> float:
    """Crops a second, copied and decoded."""
    begun = time.perf_counter()
    copied = cache.open_copy(storage.open_artifact(crops, "align"))
    size = copied.decode(0).shape[:2]

    def load(start: int) -> int:
        return len(copied.decode_rows(range(start, min(start + BATCH, len(copied))), size))

    threads = inputs.decoding_threads(None)
    done = sum(inputs.ahead(load, range(0, len(copied), BATCH), threads))
    return done / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("raw", help="a raw artifact in a local folder")
    parser.add_argument("crops", help="a crops artifact in a local folder")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facenet-bench-") as scratch:
        folder = Path(scratch)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        with bucket(folder) as uri:
            roots = {"folder": str(folder / "local"), "bucket": f"{uri}/bench"}
            figures = measure(options, folder, roots)
    for task, rates in figures.items():
        ratio = rates["bucket"] / rates["folder"]
        visible = ", ".join(f"{path} {rate:.1f} images/s" for path, rate in rates.items())
        print(f"{task}: {visible}, ratio {ratio:.2f}")
    print(json.dumps(figures))


def measure(
    given: argparse.Namespace, folder: Path, roots: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Medians of images a second by task and place."""
    places = {}
    for name, root in roots.items():
        source = storage.absolute(given.raw)
        raw = storage.join(root, *Path(source).parts[-3:])
        for file in storage.list_files(source):
            storage.copy_file(Path(file), storage.join(raw, os.path.relpath(file, source)))
        places[name] = raw, write_copies(given.crops, COPIES, root)
    align(str(folder / "warm"), places["folder"][0])
    rates: dict[str, dict[str, list[float]]] = {"align": {}, "training input": {}}
    for turn in range(given.rounds):
        for name in list(roots) if turn % 2 == 0 else reversed(list(roots)):
            raw, crops = places[name]
            rate, made = align(roots[name], raw)
            storage.remove(made)
            rates["align"].setdefault(name, []).append(rate)
            shutil.rmtree(folder / "cache", ignore_errors=True)
            rates["training input"].setdefault(name, []).append(first_pass(crops))
    return {
        task: {name: statistics.median(results) for name, results in by_place.items()}
        for task, by_place in rates.items()
    }


if __name__ == "__main__":
    main()
