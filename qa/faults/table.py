"""The summary of fault runs, as a Markdown table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """One row a kind of fault, and one of all; what was injected is listed below."""
    rows = ["| fault | runs | injected | Prefect retries | reruns | lost | doubled | wrong |"]
    rows.append("|---|" + "--:|" * 7)
    kinds = sorted({record["kind"] for record in records})
    for kind in [*kinds, None]:
        selected = [record for record in records if kind in (None, record["kind"])]
        figures = [
            len(selected),
            sum(sum(record["injected"].values()) for record in selected),
            sum(record["prefect_retries"] for record in selected),
            sum(record["reruns"] for record in selected),
            *(
                sum(len(record[name]) for record in selected)
                for name in ("lost", "doubled", "wrong")
            ),
        ]
        cells = " | ".join(f"{figure:,}" for figure in figures)
        rows.append(f"| {kind or '**all**'} | {cells} |")
    injected: Counter[str] = Counter()
    for record in records:
        injected.update(record["injected"])
    listed = ", ".join(f"{count:,} × {what}" for what, count in injected.most_common())
    left = sum(len(record["left"]) for record in records)
    return "\n".join([*rows, "", f"Injected: {listed}.", f"Temporary files left behind: {left}."])
