"""Paths and identities in Parquet: of bounded length, in memory once for all rows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facenet_core.datasets.members import Item, Limits
from facenet_core.datasets.rows import LONGEST_NAME, RowMaker, RowRules, Skip
from facenet_core.datasets.sources.parquet import ParquetFiles
from facenet_core.errors import SourceError

LIMITS = Limits(image_bytes=2**20, total_bytes=2**30, ratio=200.0)
JPEG = b"\xff\xd8\xff"


def _rows(file: Path) -> list[object]:
    items: Iterator[Item] = (
        item
        for item in ParquetFiles(str(file), (str(file),)).read(LIMITS)
        if not isinstance(item, str)
    )
    return list(RowMaker(RowRules("faces", False, 10**6)).rows(items))


def _table(identities: list[str], path: str = "x/") -> pa.Table:
    images = [{"bytes": JPEG + bytes([n]), "path": f"{path}{n}"} for n in range(len(identities))]
    return pa.table({"image": images, "identity": identities})


def test_people_and_paths_have_names_of_bounded_length(tmp_path: Path) -> None:
    file = tmp_path / "faces.parquet"
    longest = "a" * LONGEST_NAME
    pq.write_table(_table(["Ann", longest, longest + "a", "b" * 2_000_000]), file)
    ann, long, *too_long = _rows(file)
    assert (ann["identity"], long["identity"]) == ("Ann", longest)
    for skip in too_long:
        assert skip.reason == "unsafe_name"
        assert len(skip.detail) < 100
    pq.write_table(_table(["Ann"], "p/" * 1_000_000), file)
    (row,) = _rows(file)
    assert isinstance(row, dict), "the row is there, by its number"
    assert row["image_id"] == "Ann/00000000.jpg"


def test_a_name_that_many_rows_have_is_in_memory_once(tmp_path: Path) -> None:
    file = tmp_path / "faces.parquet"
    pq.write_table(_table(["a" * 2_000_000] * 64), file)
    assert file.stat().st_size < 200_000
    tracemalloc.start()
    try:
        assert {row.reason for row in _rows(file) if isinstance(row, Skip)} == {"unsafe_name"}
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_table_of_names_beyond_memory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "faces.parquet"
    names = [f"{n}{'a' * 5_000_000}" for n in range(16)]
    pq.write_table(_table(names), file, use_dictionary=False, compression="zstd")
    with pytest.raises(SourceError, match="bytes of identity in 16 rows; a name has at most 4,096"):
        _rows(file)
