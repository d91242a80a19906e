"""the data sets that `facenet ingest NAME` knows

With a name, all that is known of one. A site adds its own in a YAML file of the same form, named by
$FACENET_CATALOGUE or the field `ingest.catalogue`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flows.cli.context import Context
from flows.cli.output import console, echo, print_catalogue

if TYPE_CHECKING:
    from facenet_core.datasets.fetch.catalogue import CatalogueEntry

COMMON = ("config",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one data set, in full")
    parser.add_argument("--catalogue", metavar="FILE", help="data sets of your own")


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.datasets.fetch.catalogue import read_catalogue

    entries = read_catalogue(options.catalogue or context.settings.ingest.catalogue)
    print_catalogue(entries, options.name, context.json, _show_one, _show_all)


def _show_all(entries: Mapping[str, CatalogueEntry]) -> None:
    from rich.table import Table

    table = Table("name", "people", "images", "size", "licence", "from")
    for name, entry in entries.items():
        table.add_row(
            name,
            _number(entry.people),
            _number(entry.images),
            entry.size,
            re.split(r"[;,.]", entry.licence)[0],
            _source(entry),
        )
    for column in table.columns[1:4]:
        column.justify = "right"
        column.no_wrap = True
    table.columns[0].no_wrap = True
    table.columns[5].overflow = "fold"
    output = console()
    output.print(table)
    output.print("`facenet datasets NAME` tells more; `facenet ingest NAME` brings it.")


def _show_one(name: str, entry: CatalogueEntry) -> None:
    echo(f"{name}: {entry.title}")
    echo(f"  {_number(entry.images)} images of {_number(entry.people)} people, {entry.size}")
    echo(f"  licence: {entry.licence}")
    echo(f"  home: {entry.home}")
    if entry.obtain:
        echo(f"  {entry.obtain}")
    for file in (entry.archive, *entry.files) if entry.archive else entry.files:
        digest = f"SHA-256 {file.sha256}" if file.sha256 else f"MD5 {file.md5}"
        echo(f"  {file.name}: {digest if file.sha256 or file.md5 else 'no digest known'}")
        for url in file.urls:
            echo(f"    {url}")


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _source(entry: CatalogueEntry) -> str:
    if entry.archive is None:
        return "on request"
    return "\n".join(dict.fromkeys(urlsplit(url).netloc or url for url in entry.archive.urls))
