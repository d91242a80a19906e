"""Parquet: as a source, as shards, as embeddings and classifiers; and the local copy of crops."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facenet_core.datasets.rows import LONGEST_NAME, RowMaker, RowRules
from facenet_core.datasets.sources.parquet import ParquetFiles
from facenet_core.recognition import tables
from facenet_core.recognition.classify import ClassifierSettings, FaceClassifier
from facenet_core.storage import parquet, schemas

from ..target import Target
from .archives import LIMITS, jpeg


def _file(folder: Path, data: bytes) -> str:
    (folder / "part.parquet").write_bytes(data)
    return str(folder / "part.parquet")


def _crops() -> pa.Table:
    rows = [
        {
            "image_id": f"Ann/{n}.jpg",
            "identity": "Ann" if n % 2 else "Bob",
            "face_index": 0,
            "image": {"bytes": jpeg(n), "path": f"Ann/{n}.jpg"},
            "box": [1.0, 2.0, 3.0, 4.0],
            "landmarks": [0.5] * 10,
            "score": 0.9,
        }
        for n in range(6)
    ]
    return pa.Table.from_pylist(rows, schema=schemas.CROPS)


def shards() -> list[bytes]:
    """As `PartWriter` writes them, and as other programs do."""
    import tempfile

    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "part.parquet")
        with parquet.PartWriter(path, schemas.CROPS, "0123456789abcdef") as writer:
            for row in _crops().to_pylist():
                writer.write(row)
        results.append(Path(path).read_bytes())
    for options in (
        {"compression": "snappy"},
        {"use_dictionary": True, "data_page_version": "2.0"},
    ):
        stream = io.BytesIO()
        pq.write_table(_crops(), stream, row_group_size=2, **options)
        results.append(stream.getvalue())
    labels = {b"huggingface": b'{"info": {"features": {"label": {"names": ["Ann", "Bob"]}}}}'}
    image = pa.array([{"bytes": jpeg(n), "path": "x.jpg"} for n in range(2)], schemas.IMAGE)
    table = pa.table({"image": image, "label": pa.array([0, 1])}).replace_schema_metadata(labels)
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="gzip")
    return [*results, stream.getvalue()]


@cache
def sources() -> list[bytes]:
    """The same, and tables with odd people and paths."""
    names = ["a" * 1_000_000, "", "Zoe\u0308", "Zo\xeb", "A\x01", "../x", "A\0", "\u202eAnn"]
    images = pa.array(
        [{"bytes": jpeg(n), "path": f"{name}/{n}.jpg"} for n, name in enumerate(names)],
        schemas.IMAGE,
    )
    plain, shared, numbers = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(pa.table({"image": images, "identity": names}), plain, use_dictionary=False)
    people = pa.table({"image": images, "identity": pa.array(names[:1] * 8).dictionary_encode()})
    pq.write_table(people, shared, compression="zstd")
    pq.write_table(pa.table({"image": images, "label": pa.array([-1, 2**62] * 4)}), numbers)
    return [*shards(), plain.getvalue(), shared.getvalue(), numbers.getvalue()]


def read_source(data: bytes, folder: Path) -> None:
    """As the child does in which ingest reads somebody's data set, and as ingest takes it."""
    file = _file(folder, data)
    items = [item for item in ParquetFiles(file, (file,)).read(LIMITS) if not isinstance(item, str)]
    for row in RowMaker(RowRules("faces", False, 10**8)).rows(items):
        if isinstance(row, dict):
            assert 0 < len(row["identity"]) <= LONGEST_NAME
            assert 0 < len(row["image_id"]) <= LONGEST_NAME
            assert isinstance(row["image"]["bytes"], bytes)


def read_part(data: bytes, folder: Path) -> None:
    """As every stage does with the parts of the one before."""
    file = _file(folder, data)
    parquet.part_is_current(file, "0123456789abcdef")
    parquet.count_rows(file)
    parquet.read_table(file, ["image_id"])
    for group in parquet.read_row_groups(file, ["image_id", "identity", "image"]):
        group.to_pylist()
    parquet.read_rows(file, [0, 1, 5], ["image", "identity"])


def embeddings() -> list[bytes]:
    vectors = np.eye(6, dtype=np.float32)
    columns = {
        "image_id": [f"Ann/{n}.jpg" for n in range(6)],
        "identity": ["Ann", "Bob"] * 3,
        "face_index": pa.array([0] * 6, pa.int32()),
        "embedding": pa.array(list(vectors), pa.list_(pa.float32())),
    }
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return [stream.getvalue()]


def read_embeddings(data: bytes, folder: Path) -> None:
    file = _file(folder, data)
    if tables.is_table(file):
        table = tables.read(file)
        assert table.vectors.shape[0] == len(table.image_ids) == len(table.identities)


def classifiers() -> list[bytes]:
    import tempfile

    vectors, names = np.eye(6, dtype=np.float32), ["Ann", "Ann", "Bob", "Bob", "Eve", "Eve"]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.parquet"
        FaceClassifier(vectors, names, ClassifierSettings("knn")).save(str(path))
        results.append(path.read_bytes())
    return results


def read_classifier(data: bytes, folder: Path) -> None:
    classifier = FaceClassifier.load(_file(folder, data))
    classifier.predict(np.eye(6, dtype=np.float32)[:, : classifier.vectors.shape[1]])


TARGETS = (
    Target("Parquet source", read_source, sources, weight=5),
    Target("shard", read_part, shards, weight=5),
    Target("embeddings", read_embeddings, embeddings, weight=3),
    Target("classifier", read_classifier, classifiers, weight=2),
)
