"""When training has been at its best: functions of its history, so that resuming needs no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def best(history: Sequence[Row], monitor: str) -> Row | None:
    """The row with the highest figure, the first of equals; None where it was never measured."""
    measured = [row for row in history if row[monitor] is not None]
    return max(measured, key=lambda row: row[monitor], default=None)


def exhausted(history: Sequence[Row], monitor: str, patience: int | None) -> bool:
    """Whether the last `patience` measurements brought nothing better."""
    found = best(history, monitor)
    if found is None or patience is None:
        return False
    later = [r for r in history if r[monitor] is not None and r["epoch"] > found["epoch"]]
    return len(later) >= patience
