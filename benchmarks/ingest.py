"""Time and memory of ingesting an archive, beside `tar xzf` of the same file.

    python benchmarks/ingest.py                            200,000 small pictures, made first
    python benchmarks/ingest.py ../lfw-dev.tgz ../celeba-dev.tgz --rounds 5

tar and we take turns; each starts with an empty folder, ours without its memo of digests. Ours is
timed inside its process, after imports: fingerprint, reading, shards, manifest. Printed are
medians. Unpacking is bound by the disk where it is slow: set TMPDIR to a folder in memory (such as
/dev/shm) to compare the programs alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path

OURS = """
import json, resource, sys, time
from facenet_core import storage
from facenet_core.config import IngestConfig
from facenet_core.datasets import stage as ingest
source, root = sys.argv[1:]
config = IngestConfig(source=source)
import pyarrow.parquet
pyarrow.array(["x"])  # looks for pandas the first time, and imports it
storage.check_writable(root)
start = time.perf_counter()
plan = ingest.plan_ingest(root, config)
manifest = ingest.finish(plan, ingest.stream(root, plan, config), {})
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "peak_kb": peak, **manifest.counts}))
"""


def small_pictures(path: Path, count: int) -> None:
    """A tar.gz of pictures of about 1.2 kB, 50 of each person, no two alike."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    with tarfile.open(path, "w:gz", compresslevel=6) as tar:
        for number in range(count):
            stream = BytesIO()
            blocks = random.integers(0, 255, (5, 5, 3), dtype=np.uint8)
            picture = Image.fromarray(blocks).resize((40, 40), Image.Resampling.BICUBIC)
            picture.save(stream, "JPEG", quality=92)
            person = f"person{number // 50:05d}"
            entry = tarfile.TarInfo(f"small/{person}/{person}_{number % 50 + 1:04d}.jpg")
            entry.size = stream.tell()
            stream.seek(0)
            tar.addfile(entry, stream)


def run_tar(archive: Path, scratch: Path) -> float:
    start = time.perf_counter()
    subprocess.run(["tar", "xzf", archive, "-C", scratch], check=True)
    return time.perf_counter() - start


def run_ours(archive: Path, scratch: Path) -> dict[str, float]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(scratch / "cache")}
    command = [sys.executable, "-c", OURS, str(archive), str(scratch / "store")]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure(archive: Path, rounds: int, scratch: Path) -> None:
    theirs: list[float] = []
    ours: list[dict[str, float]] = []
    for number in range(rounds):
        for engine in ("tar", "ours") if number % 2 == 0 else ("ours", "tar"):
            path = scratch / "round"
            path.mkdir()
            if engine == "tar":
                theirs.append(run_tar(archive, path))
            else:
                ours.append(run_ours(archive, path))
            shutil.rmtree(path)
    mine = statistics.median(run["seconds"] for run in ours)
    tar = statistics.median(theirs)
    megabytes = ours[0]["bytes"] / 1e6
    print(
        f"{archive.name}: {ours[0]['images']:,} images, {megabytes:,.0f} MB\n"
        f"  tar xzf  {tar:7.2f} s  {megabytes / tar:7.1f} MB/s\n"
        f"  ours     {mine:7.2f} s  {megabytes / mine:7.1f} MB/s  {mine / tar:.2f} times tar's, "
        f"peak {max(run['peak_kb'] for run in ours) / 1024:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", nargs="*", type=Path, help=".tgz; default: small pictures")
    parser.add_argument("--count", type=int, default=200_000, help="small pictures (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archives = options.archives
        if not archives:
            archives = [Path(folder) / f"small-{options.count}.tgz"]
            small_pictures(archives[0], options.count)
        for archive in archives:
            measure(archive.absolute(), options.rounds, Path(folder))


if __name__ == "__main__":
    main()
