"""Training on very many people: what a start and a step cost as a data set grows.

    python scale.py [--rows 100000 1000000 10000000] [--folder FOLDER]

Crops are made in the way of `facenet align`'s: ten of each person, JPEGs of 32 pixels with a
pattern, 256 different ones dealt out by number, as what they show costs nothing here. Each set is
trained on for some steps by a small network that tells people from 500 others a step
(`classifier_sample_rate`), so that what grows is neither network nor classifier. Each training is a
process of its own; the copy of the crops is made before its first step, and timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.config import TrainConfig
from facenet_core.models.networks.layers import Layers, global_average, image_input
from facenet_core.storage import Outcome, parquet, schemas
from facenet_core.training import stage

PER_PERSON = 10
SIDE = 32
IN_PART, IN_GROUP = 250_000, 5_000
CLASSES = 500  # of a step, besides those of its images
DIMENSIONS = 64


def write_crops(root: str, rows: int) -> str:
    """URI of a crops artifact with so many first faces."""
    inputs = [storage.Input("raw", "0" * 16)]
    plan = storage.plan_stage(
        root, "align", f"rows-{rows}", {"image_size": SIDE, "rows": rows}, inputs, 1
    )
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (256, 4, 4, 3), np.uint8)
    pictures = pa.array(
        [
            {"bytes": cv2.imencode(".jpg", image)[1].tobytes(), "path": None}
            for image in (cv2.resize(pattern, (SIDE, SIDE)) for pattern in patterns)
        ],
        schemas.IMAGE,
    )
    parts = []
    for number, start in enumerate(range(0, rows, IN_PART)):
        row = np.arange(start, min(start + IN_PART, rows))
        names = pa.array(np.char.mod("person-%07d", row // PER_PERSON).tolist())
        files = pa.array(np.char.mod("/%02d.jpg", row % PER_PERSON).tolist())
        zeros = {n: pa.array(np.zeros(n * len(row), np.float32)) for n in (4, 10)}
        table = pa.table(
            [
                pa.compute.binary_join_element_wise(names, files, ""),
                names,
                pa.array(np.zeros(len(row), np.int32)),
                pictures.take(pa.array(row % 256)),
                pa.FixedSizeListArray.from_arrays(zeros[4], 4).cast(pa.list_(pa.float32(), 4)),
                pa.FixedSizeListArray.from_arrays(zeros[10], 10).cast(pa.list_(pa.float32(), 10)),
                pa.array(np.ones(len(row), np.float32)),
            ],
            schema=schemas.CROPS,
        )
        name = f"crops/{parquet.part_name(number)}"
        path = Path(plan.uri, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=IN_GROUP, use_dictionary=["identity"])
        parts.append(parquet.describe_part(plan.uri, name))
    counts = {"images": rows, "aligned": rows, "crops": rows, "rejects": 0}
    storage.publish(plan, Outcome(parts, counts), {})
    return plan.uri


def network(
    *, image_size: int, embedding_size: int, keep_probability: float, **shared: float
) -> keras.Model:
    """A network that costs next to nothing."""
    layers = Layers(**shared)
    images = image_input(image_size, 8, "scale")
    x = global_average(layers.conv(images, 16, 3, "conv", strides=2), "pool")
    return keras.Model(images, layers.bottleneck(x, embedding_size), name="scale")


def train(crops_uri: str, rows: int, steps: int) -> None:
    """In a process of its own: prints seconds to the first step, a step's median, peak memory."""
    from facenet_core.training.input import cache

    peak = [0.0]
    threading.Thread(target=_watch_memory, args=(peak,), daemon=True).start()
    began = time.perf_counter()
    artifact = storage.open_artifact(crops_uri, "align")
    cache.open_copy(artifact)
    copied = time.perf_counter()
    people = rows // PER_PERSON
    config = TrainConfig(
        model_def="scale:network",
        image_size=SIDE,
        embedding_size=DIMENSIONS,
        batch_size=64,
        epoch_size=steps,
        max_nrof_epochs=1,
        optimizer="momentum",
        learning_rate=0.01,
        center_loss_factor=0.01,
        classifier_sample_rate=min(1.0, CLASSES / people),
        sampler=os.environ["SAMPLER"],
        validation_set_split_ratio=0.05,
        min_nrof_val_images_per_class=PER_PERSON + 1,  # so none of whom would be validated on
        checkpoint_every=10 * steps,
    )
    laps = []

    def progress(step: stage.Step) -> None:
        laps.append(time.perf_counter())

    root = crops_uri.split("/crops/")[0]
    plan = stage.plan_train(root, crops_uri, config)
    outcome = stage.train(plan, config, run_id="scale", progress=progress)
    stage.finish(plan, outcome, {})
    figures = {
        "copy": copied - began,
        "first step": laps[0] - copied,
        "step": statistics.median(np.diff(laps[10:])),
        "end": time.perf_counter() - laps[-1],
        "memory": peak[0] / 2**20,
        "manifest": Path(plan.uri, storage.MANIFEST).stat().st_size,
    }
    print(json.dumps(figures))


def _watch_memory(peak: list[float]) -> None:
    """Keep the most bytes of this process that are not backed by a file, as a copy's map is."""
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        peak[0] = max(peak[0], float(status["RssAnon"].split()[0]) * 1024)
        time.sleep(0.02)


def measure(root: str, rows: int, steps: int, sampler: str, uri: str) -> dict[str, float]:
    here = str(Path(__file__).parent)
    search = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": search, "SAMPLER": sampler}
    words = [sys.executable, __file__, "--train", uri, "--rows", str(rows), "--steps", str(steps)]
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where crops and copies are made")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.train, options.rows[0], options.steps)
        return
    folder = Path(tempfile.mkdtemp(prefix="facenet-scale-", dir=options.folder))
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    classifier = "classifier and centers, MiB"
    print(
        f"| rows | people | sampler | copy, s | first step, s | ms a step | end, s | peak "
        f"memory, MiB | {classifier} | manifest, kB | inspect, s |"
    )
    print("|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    try:
        for rows in options.rows:
            uri = write_crops(str(folder / "store"), rows)
            began = time.perf_counter()
            inspect = [sys.executable, "-m", "flows.cli", "inspect", uri]
            subprocess.run(inspect, check=True, stdout=subprocess.DEVNULL)
            inspected = time.perf_counter() - began
            for sampler in ("shuffle", "balanced"):
                f = measure(str(folder / "store"), rows, options.steps, sampler, uri)
                people = rows // PER_PERSON
                weights = people * DIMENSIONS * 4 * 3 / 2**20  # kernel, momentum, centers
                print(
                    f"| {rows:,} | {people:,} | {sampler} | {f['copy']:.1f} | "
                    f"{f['first step']:.1f} | {1000 * f['step']:.1f} | {f['end']:.1f} | "
                    f"{f['memory']:,.0f} | {weights:,.0f} | {f['manifest'] / 1000:.0f} | "
                    f"{inspected:.1f} |",
                    flush=True,
                )
            shutil.rmtree(folder / "cache", ignore_errors=True)
            shutil.rmtree(uri)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
