"""What the Prefect UI shows of a stage: metrics, URIs, tables, small pictures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from facenet_core import storage
from tasks.prefect.summary import StageSummary

_WIDEST = 960  # pixels of a picture in the UI, whose page is not wider
_COUNTS = {
    "aligned": "photographs with a face",
    "bytes": "bytes",
    "crops": "crops",
    "embeddings": "embeddings",
    "identities": "people",
    "images": "photographs",
    "pairs": "pairs",
    "pairs_skipped": "pairs left out",
    "rejects": "photographs without a crop",
    "steps": "steps",
}
_METRICS = {
    "accuracy": "accuracy",
    "accuracy_std": "… its deviation over folds",
    "val_rate": "validation rate",
    "val_rate_std": "… its deviation over folds",
    "far": "… at this false accept rate",
    "auc": "area under ROC",
    "eer": "equal error rate",
    "threshold": "threshold",
}


def show_summary(summary: StageSummary, title: str, notes: Sequence[str] = ()) -> None:
    """A markdown artifact with the metrics of a stage and the URI of its artifact."""
    metrics = [(_label(name), f"{count:,}") for name, count in summary.counts.items()]
    metrics += [
        (label, f"{value:.4f}")
        for name, label in _METRICS.items()
        if isinstance(value := summary.metrics.get(name), int | float)
    ]
    rows = [f"| {name} | {value} |" for name, value in metrics]
    lines = [f"## {title}", "", *(f"* {note}" for note in notes), ""]
    lines += ["| | |", "|:--|--:|", *rows, f"| seconds | {summary.seconds:,.1f} |", ""]
    lines += [f"`{summary.uri}`"]
    create_markdown_artifact(
        "\n".join(lines), key=_key(f"{title} figures"), description=f"{title}: figures"
    )


def show_folds(folds: Sequence[Mapping[str, object]], title: str) -> None:
    """The folds of a validation as a table."""
    rows = [
        {name: _cell(value) for name, value in fold.items() if not isinstance(value, list | dict)}
        for fold in folds
    ]
    show_table(rows, f"{title} folds")


def show_table(rows: Sequence[Mapping[str, str]], title: str) -> None:
    """A table artifact; each row has the same columns."""
    create_table_artifact([dict(row) for row in rows], key=_key(title), description=title)


def show_picture(uri: str, title: str) -> None:
    """A stored PNG in a size that suits the page, with its URI."""
    show_png(storage.read_bytes(uri), title, f"Full size: `{uri}`")


def show_png(data: bytes, title: str, below: str) -> None:
    """A PNG no wider than the page, with a line of markdown below it.

    A markdown artifact: below an image artifact the UI spells out the data URI over the whole page.
    """
    source = "data:image/png;base64," + base64.b64encode(_scaled(data)).decode()
    text = f"![{title}]({source})\n\n{below}"
    create_markdown_artifact(text, key=_key(title), description=title)


def _scaled(data: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        if picture.width <= _WIDEST:
            return data
        height = round(picture.height * _WIDEST / picture.width)
        small = picture.convert("RGB").resize((_WIDEST, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _label(count: str) -> str:
    reason = count.removeprefix("rejects.")
    return _COUNTS.get(count) or (f"… {reason}" if reason != count else count.replace("_", " "))


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _key(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
