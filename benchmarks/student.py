"""A small network as a TFLite file beside its teacher on OpenVINO, on one core.

    python benchmarks/student.py CROPS STUDENT TEACHER [--rounds 5]

The student (SqueezeNet of `configs/student.yaml`) is exported with `--float16` and run by the
TFLite interpreter, an image at a time as on a phone; the teacher runs on OpenVINO in float32, an
image at a time and 16 at a time. Each is pinned to the same core, and they take turns. Prints
megabytes and images/s from decoded crops to embeddings.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import turns

IMAGES = 64


def work(kind: str, crops_uri: str, model_uri: str) -> None:
    """A child: embeds the crops for each line of its input, and prints seconds and megabytes."""
    answers = turns.answers()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    import numpy as np

    from facenet_core import storage
    from facenet_core.models import import_model
    from facenet_core.models.face_model import fit
    from facenet_core.models.formats.export import export, open_exported
    from facenet_core.models.runtimes import open_runtime
    from facenet_core.training.input import cache

    model = import_model.load(model_uri)
    crops = cache.open_copy(storage.open_artifact(storage.absolute(crops_uri), "align"))
    images = crops.decode_rows(range(IMAGES), crops.decode(0).shape[:2])
    images = np.ascontiguousarray(fit(images, model.image_size))
    batch = 16 if kind == "teacher16" else 1
    with tempfile.TemporaryDirectory() as folder:
        if kind == "student":
            exported = export(model, "tflite", folder, True)
            run, size = open_exported(Path(exported.uri), "tflite"), exported.bytes
        else:
            run = open_runtime(model, "openvino", threads=1, precision="float32").embed
            size = sum(variable.numpy().nbytes for variable in model.network.variables)

        def embed() -> None:
            for start in range(0, IMAGES, batch):
                run(images[start : start + batch])

        embed()
        print("ready", file=answers)
        for _ in sys.stdin:
            started = time.perf_counter()
            embed()
            print(time.perf_counter() - started, size / 1e6, file=answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", help="URI of a crops artifact of 160 pixels or more")
    parser.add_argument("student", help="a model as commands take it")
    parser.add_argument("teacher", help="a model as commands take it")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        is_student = options.work == "student"
        work(options.work, options.crops, options.student if is_student else options.teacher)
        return
    words = [options.crops, options.student, options.teacher]
    kinds = {
        "student, TFLite float16, one at a time": "student",
        "teacher, OpenVINO float32, one at a time": "teacher",
        "teacher, OpenVINO float32, 16 at a time": "teacher16",
    }
    children = turns.start(
        {name: [sys.executable, __file__, *words, "--work", kind] for name, kind in kinds.items()}
    )
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    sizes = {}
    for name, (seconds, megabytes) in turns.take(children, options.rounds):
        rates[name].append(IMAGES / float(seconds))
        sizes[name] = float(megabytes)
    student = statistics.median(next(iter(rates.values())))
    for name, of_name in rates.items():
        rate = statistics.median(of_name)
        spread = f"{min(of_name):.1f} to {max(of_name):.1f}"
        print(
            f"{name:42} {sizes[name]:6.1f} MB {rate:7.1f} images/s ({spread}), "
            f"the student is {student / rate:.2f}x"
        )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
