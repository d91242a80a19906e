"""What the Prefect UI shows of a stage: a short table of numbers, and pictures."""

from __future__ import annotations

import base64
import re

from prefect.artifacts import create_image_artifact, create_markdown_artifact

from facenet_core import storage
from tasks.summary import StageSummary

_SMALL_IMAGE = 400_000  # bytes; larger ones are only linked


def show_summary(summary: StageSummary, title: str) -> None:
    """A markdown artifact with the numbers of a stage and where its output lies."""
    figures = {**summary.counts, **{k: v for k, v in summary.metrics.items() if _is_number(v)}}
    rows = [f"| {name} | {_format(value)} |" for name, value in figures.items()]
    text = "\n".join(
        [f"## {title}", "", f"`{summary.uri}`", "", "| figure | value |", "|---|---:|", *rows]
    )
    create_markdown_artifact(text, key=_key(title), description=f"{title} in figures")


def show_picture(uri: str, title: str) -> None:
    """An image artifact of a small PNG, inline."""
    data = storage.read_bytes(uri)
    if len(data) <= _SMALL_IMAGE:
        source = "data:image/png;base64," + base64.b64encode(data).decode()
        create_image_artifact(source, key=_key(title), description=f"{title}: {uri}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _format(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _key(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
