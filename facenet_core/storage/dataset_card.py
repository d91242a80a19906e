"""The README.md of an artifact with tables: for people, and for Hugging Face's `datasets`.

It names each folder of tables as a configuration, so that the artifact opens as it is:

    datasets.load_dataset(uri)             # the first table: images, crops
    datasets.load_dataset(uri, "rejects")

It is no part: nothing reads it here, and it never enters a fingerprint.
https://huggingface.co/docs/hub/datasets-manual-configuration
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facenet_core.storage.manifests import Manifest, Part

CARD = "README.md"


def dataset_card(manifest: Manifest) -> str | None:
    """The text of the card, or None of an artifact without tables or of a model.

    Tables without rows are left out: `datasets` cannot open these.
    """
    tables = _tables(manifest.parts)
    if not tables or manifest.stage == "train":
        return None
    lines = ["---", "configs:"]
    for number, (name, (files, _)) in enumerate(tables.items()):
        lines += [f"- config_name: {name}", f"  data_files: {files}"]
        lines += ["  default: true"] if number == 0 else []
    lines += ["---", "", f"# {manifest.name}", ""]
    lines += [f"Written by `facenet {manifest.stage}`; `manifest.json` says from what and how."]
    lines += ["", "| table | rows |", "|---|---:|"]
    lines += [f"| {name} | {rows:,} |" for name, (_, rows) in tables.items()]
    return "\n".join(lines) + "\n"


def _tables(parts: Sequence[Part]) -> dict[str, tuple[str, int]]:
    """By the name of each table the pattern of its files and its rows, sorted by name."""
    tables: dict[str, tuple[str, int]] = {}
    for part in sorted(parts, key=lambda part: part.name):
        if part.name.endswith(".parquet") and part.rows:
            name = part.folder or part.name.removesuffix(".parquet")
            files = f"{part.folder}/*.parquet" if part.folder else part.name
            tables[name] = (files, tables.get(name, (files, 0))[1] + part.rows)
    return tables
