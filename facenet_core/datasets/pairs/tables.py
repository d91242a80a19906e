"""Pairs as a table, CSV or Parquet: columns `fold`, `image_id_a`, `image_id_b`, `same`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from facenet_core.datasets.pairs.resolve import Pairs, with_folds
from facenet_core.errors import PairsError
from facenet_core.storage.parquet import DAMAGED
from facenet_core.text import files
from facenet_core.text.printable import from_cell, to_cell

COLUMNS = ("fold", "image_id_a", "image_id_b", "same")
_TRUTH = {"true": True, "1": True, "false": False, "0": False, "-1": False}


def parse_csv(text: str, origin: str, nrof_folds: int) -> Pairs:
    """Parse a CSV with a header; without a column `fold` see `pairs.with_folds`.

    `same` is true or false, 1 or 0. Other columns are ignored.

    Raises:
        PairsError: names file and line, and what was expected.
    """
    delimiter = files.delimiter(text.lstrip().partition("\n")[0])
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    rows = []
    try:
        _require(reader.fieldnames or (), origin)
        for row in reader:
            line = f"{origin}, line {reader.line_num}"
            row |= {name: from_cell(row[name] or "") for name in COLUMNS[1:3]}
            rows.append(_row(row, line))
            if row["image_id_a"] == row["image_id_b"]:
                raise PairsError(f"{line}: expected two different images, found one twice")
    except csv.Error as error:
        raise PairsError(f"{origin}, line {reader.line_num}: not CSV: {error}") from None
    return _pairs(rows, "fold" in (reader.fieldnames or ()), origin, nrof_folds)


def parse_parquet(content: bytes, origin: str, nrof_folds: int) -> Pairs:
    """Parse a Parquet file, such as a report's `pairs.parquet`.

    Raises:
        PairsError: it is damaged, a column is missing or a value is.
    """
    try:
        table = pq.read_table(pa.BufferReader(content))
        _require(table.column_names, origin)
        table = table.select([name for name in COLUMNS if name in table.column_names])
        values = table.to_pylist()
    except DAMAGED as error:
        raise PairsError(f"{origin}: not a Parquet file that can be read: {error}") from None
    rows = [_row(row, f"{origin}, row {n}") for n, row in enumerate(values, 1)]
    return _pairs(rows, "fold" in table.column_names, origin, nrof_folds)


def format_csv(pairs: Pairs) -> str:
    """The pairs as CSV, in which no spreadsheet mistakes a name for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        (int(fold), to_cell(a), to_cell(b), "true" if same else "false")
        for fold, a, b, same in zip(
            pairs.fold, pairs.image_id_a, pairs.image_id_b, pairs.same, strict=True
        )
    )
    return out.getvalue()


def to_table(pairs: Pairs) -> pa.Table:
    """The pairs as a table of `fold` int32, two image ids and `same` bool."""
    arrays = [
        pairs.fold,
        pa.array(pairs.image_id_a, pa.string()),
        pa.array(pairs.image_id_b, pa.string()),
        pairs.same,
    ]
    return pa.table(arrays, names=list(COLUMNS))


def _require(columns: Sequence[str], origin: str) -> None:
    missing = [name for name in COLUMNS[1:] if name not in columns]
    if missing:
        raise PairsError(
            f"{origin}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)} (fold may "
            "be left out)"
        )


def _row(row: Mapping[str, object], origin: str) -> tuple[int, str, str, bool]:
    a, b = row["image_id_a"], row["image_id_b"]
    same = _TRUTH.get(str(row["same"]).strip().lower())
    fold = str(row.get("fold", 0)).strip()
    if not a or not b or same is None or not fold.isdecimal() or len(fold) > 6:
        raise PairsError(
            f"{origin}: expected a fold number, two image ids and true or false, found "
            f"{', '.join(str(row.get(name)) for name in COLUMNS if name in row)[:160]!r}"
        )
    return int(fold), str(a), str(b), same


def _pairs(
    rows: list[tuple[int, str, str, bool]], has_folds: bool, origin: str, nrof_folds: int
) -> Pairs:
    if not rows:
        raise PairsError(f"{origin}: holds no pairs")
    pairs = Pairs.of(rows, "file")
    return pairs if has_folds else with_folds(pairs, nrof_folds, origin)
