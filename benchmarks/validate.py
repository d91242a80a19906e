"""Validation on Keras and on OpenVINO, whole commands in turn, and how much their metrics differ.

    python benchmarks/validate.py CROPS MODEL --pairs pairsDevTest.txt --rounds 3

CROPS and MODEL are artifacts; reports are written below the storage root they lie in.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ENGINES = ("keras", "openvino")
METRICS = ("accuracy", "val_rate", "auc", "eer", "threshold")


def validate(
    options: argparse.Namespace, engine: str, name: str
) -> tuple[float, float, dict[str, Any]]:
    """Seconds of the command, those of its processors, and the metrics of its report."""
    facenet = Path(sys.executable).with_name("facenet")
    command = [str(facenet), "validate", options.crops, options.model]
    command += ["--engine", engine, "--name", name, "--pairs", options.pairs, "--json"]
    command += ["--storage", options.crops.rpartition("/crops/")[0], *options.option]
    started, before = time.perf_counter(), processor_time()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, of_processors = time.perf_counter() - started, processor_time() - before
    return seconds, of_processors, json.loads(done.stdout.splitlines()[-1])


def processor_time() -> float:
    """Seconds of all processes that ended, which say more than the clock on a busy machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops")
    parser.add_argument("model")
    parser.add_argument("--pairs", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--option", action="append", default=[], help="of facenet validate")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    processors: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    metrics = {}
    for number in range(options.rounds):
        for engine in ENGINES:
            name = f"{engine}-{number}-{time.time_ns()}"  # a report that is there is not made again
            taken, of_processors, metrics[engine] = validate(options, engine, name)
            seconds[engine].append(taken)
            processors[engine].append(of_processors)
            print(f"{engine}: {taken:.1f} s, processors {of_processors:.1f} s", flush=True)
    for engine in ENGINES:
        figures = ", ".join(f"{name} {metrics[engine][name]:.5f}" for name in METRICS)
        medians = [statistics.median(values[engine]) for values in (seconds, processors)]
        print(f"{engine}: {medians[0]:.1f} s, processors {medians[1]:.1f} s; {figures}")
    apart = max(abs(metrics["keras"][name] - metrics["openvino"][name]) for name in METRICS)
    print(f"metrics at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
