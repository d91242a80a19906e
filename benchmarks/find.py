"""The nearest faces among many: `facenet find` beside brute force of scikit-learn.

    python benchmarks/find.py --faces 1000000 --dimensions 128

Writes a table of synthetic embeddings of unit length, opens it as `facenet find` does, without and
with its index file, and searches it for single faces and for a hundred at a time.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.neighbors import NearestNeighbors

from facenet_core.embedding import artifact
from facenet_core.recognition import gallery
from facenet_core.storage import schemas

_GROUP_ROWS = 1024
_NEAREST = 5


def unit_vectors(count: int, dimensions: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dimensions), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_table(file: Path, rows: np.ndarray) -> None:
    schema = artifact.naming_model(schemas.crop_embeddings(rows.shape[1]), "0" * 16, "synthetic")
    names = pa.array([f"Person_{number // 10}/{number}.jpg" for number in range(len(rows))])
    people = pa.array([f"Person_{number // 10}" for number in range(len(rows))])
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    zeros, ones = np.zeros(len(rows), np.int32), np.ones(len(rows), np.float32)
    table = pa.table([names, people, zeros, ones, lists], schema=schema)
    pq.write_table(table, file, row_group_size=_GROUP_ROWS)


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Of the fastest of several runs."""
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        durations.append(time.perf_counter() - started)
    return min(durations)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=128)
    options = parser.parse_args()
    rows = unit_vectors(options.faces, options.dimensions, 0)
    one, hundred = unit_vectors(1, options.dimensions, 1), unit_vectors(100, options.dimensions, 2)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "faces.parquet"
        write_table(file, rows)
        first = seconds(lambda: gallery.open_gallery(str(file)))
        again = seconds(lambda: gallery.open_gallery(str(file)))
        people = gallery.open_gallery(str(file))
        brute = NearestNeighbors(n_neighbors=_NEAREST, algorithm="brute").fit(rows)
        print(f"{options.faces:,} faces of {options.dimensions} dimensions")
        print(f"open, making the index: {first:.2f} s; with the index: {again:.2f} s")
        for name, asked in (("one face", one), ("a hundred faces", hundred)):
            ours = seconds(lambda: people.nearest(asked, _NEAREST), 3)  # noqa: B023
            theirs = seconds(lambda: brute.kneighbors(asked), 3)  # noqa: B023
            print(f"{name}: {ours:.3f} s; scikit-learn's brute force: {theirs:.3f} s")
        _, order = brute.kneighbors(hundred)
        matches = people.nearest(hundred, _NEAREST)
        same = [[f"Person_{n // 10}/{n}.jpg" for n in near] for near in order]
        equal = sum(
            [match.image_id for match in found] == names
            for found, names in zip(matches, same, strict=True)
        )
        print(f"the same five nearest, in the same order: {equal} of {len(same)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory, both and the synthetic rows together: {peak:.1f} GiB")


if __name__ == "__main__":
    main()
