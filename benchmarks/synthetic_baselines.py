"""How far pixels and colours alone get in face verification: the floor under a model's accuracy.

    python benchmarks/synthetic_baselines.py CROPS PAIRS

CROPS is the crops artifact that a report was made from, PAIRS the report's pairs.parquet. Each line
of the output is a way to describe a crop without learning anything and its accuracy by the LFW
protocol. A data set on which these do well says little about embeddings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from facenet_core.datasets.pairs import resolve as pairs_files
from facenet_core.evaluation.protocol.verification import IndexedPairs, Verification, verify

RAW_SIDE = 96
"""Crops are compared pixel by pixel at this side length, whatever size they were stored at."""

Describe = Callable[[np.ndarray], np.ndarray]


def pixels(crop: np.ndarray) -> np.ndarray:
    """All pixels, uint8 [h, w, 3] -> float32 [RAW_SIDE² · 3], scaled to length 1."""
    raw = cv2.resize(crop, (RAW_SIDE, RAW_SIDE), interpolation=cv2.INTER_AREA)
    return _unit(raw.astype(np.float32).ravel())


def standardised_pixels(crop: np.ndarray) -> np.ndarray:
    """All pixels, after the mean is taken away: cosine becomes correlation."""
    raw = cv2.resize(crop, (RAW_SIDE, RAW_SIDE), interpolation=cv2.INTER_AREA)
    raw = raw.astype(np.float32).ravel()
    return _unit(raw - raw.mean())


def thumbnail(crop: np.ndarray) -> np.ndarray:
    """8x8 pixels: colours of large areas, uint8 [h, w, 3] -> float32 [192]."""
    return cv2.resize(crop, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


def colour_histogram(crop: np.ndarray) -> np.ndarray:
    """Roots of an 8x8x8 colour histogram, float32 [512]: distances become Hellinger's."""
    counts = cv2.calcHist([crop], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel()
    return np.sqrt(counts / counts.sum())


BASELINES: dict[str, Describe] = {
    "raw pixels, cosine": pixels,
    "standardised pixels, cosine": standardised_pixels,
    "8x8 thumbnail, Euclidean": thumbnail,
    "colour histogram, Hellinger": colour_histogram,
}


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def read_crops(folder: Path) -> dict[str, np.ndarray]:
    """The first face of every image: image id -> uint8 [h, w, 3] RGB."""
    files = sorted(str(path) for path in folder.rglob("*.parquet") if "rejects" not in path.parts)
    if not files:
        raise SystemExit(f"{folder}: no Parquet files; expected a folder of crop shards")
    rows = ds.dataset(files).to_table(
        columns=["image_id", "image"], filter=ds.field("face_index") == 0
    )
    return {row["image_id"]: _decode(row["image"]["bytes"]) for row in rows.to_pylist()}


def _decode(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def baseline(
    crops: dict[str, np.ndarray], pairs: pairs_files.Pairs, describe: Describe
) -> Verification:
    """Verify pairs by the distances of descriptions of their crops."""
    row = {image_id: number for number, image_id in enumerate(crops)}
    described = np.stack([describe(crop) for crop in crops.values()]).astype(np.float64)
    a = np.array([row[image_id] for image_id in pairs.image_id_a])
    b = np.array([row[image_id] for image_id in pairs.image_id_b])
    # The protocol tries thresholds from 0 to 4 in steps of 0.01: fit the distances to that grid.
    typical = np.mean(np.sum(np.square(described[a] - described[b]), axis=1))
    return verify(described * np.sqrt(1.5 / typical), IndexedPairs(a, b, pairs.same, pairs.fold))


def read_pairs(path: Path) -> pairs_files.Pairs:
    """The pairs that a report evaluated, in its folds."""
    table = pq.read_table(path, filters=ds.field("distance").is_valid()).to_pydict()
    return pairs_files.Pairs(
        fold=np.array(table["fold"], np.int32),
        image_id_a=np.array(table["image_id_a"], object),
        image_id_b=np.array(table["image_id_b"], object),
        same=np.array(table["same"], bool),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("crops", type=Path, help="folder of crop shards")
    parser.add_argument("pairs", type=Path, help="a report's pairs.parquet")
    arguments = parser.parse_args()
    crops = read_crops(arguments.crops)
    pairs = read_pairs(arguments.pairs)
    print(f"{len(pairs)} pairs, {len(crops)} crops")
    for name, describe in BASELINES.items():
        result = baseline(crops, pairs, describe)
        print(f"{name:30} {result.accuracy:.4f} ± {result.accuracy_std:.4f}  AUC {result.auc:.4f}")


if __name__ == "__main__":
    main()
