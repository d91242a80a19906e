"""what is in an artifact: counts, lineage, people, sample pictures

Of any artifact: its manifest, what it was made from, and a sheet of sample pictures as a PNG, whose
path is printed.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from facenet_core.config import PipelineConfig
from facenet_core.text.plural import plural
from flows.cli import options as recognition
from flows.cli import terminal
from flows.cli.terminal import echo, echo_json

if TYPE_CHECKING:
    from rich.console import Console

    from facenet_core.housekeeping.overview import Overview, People

_BAR = 40  # characters of the longest bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="URI", help="folder of an artifact, as a stage printed it")
    parser.add_argument(
        "--samples",
        type=recognition.ending_in(".png"),
        metavar="FILE",
        help="where the sheet goes; default: the user's cache folder",
    )
    parser.add_argument("--no-samples", action="store_true", help="draw no sheet")


def run(options: argparse.Namespace, settings: PipelineConfig) -> None:
    from facenet_core import storage
    from facenet_core.cache import cache_folder
    from facenet_core.housekeeping.overview import overview
    from facenet_core.housekeeping.sample_sheet import picture_sheet

    found = overview(storage.absolute(options.uri))
    sheet = None
    if not options.no_samples and not found.damaged:
        sheet = picture_sheet(found.uri, found.manifest)
    place = None
    if sheet is not None:
        name = f"{found.manifest.stage}-{found.manifest.name}-{found.manifest.fingerprint}.png"
        place = storage.absolute(options.samples or str(cache_folder() / "samples" / name))
        storage.write_bytes(place, sheet)
    if options.json:
        echo_json({**asdict(found), "samples": place})
        return
    _show(found)
    if place is not None:
        echo(f"Samples: {place}")
    echo(found.uri)


def _show(found: Overview) -> None:
    from rich.table import Table

    from facenet_core.housekeeping.overview import figures

    manifest = found.manifest
    console = terminal.console(soft_wrap=True, highlight=False)
    console.print(
        f"[bold]{_plain(manifest.name)}[/bold], made by `{_plain(manifest.stage)}`, "
        f"{_plain(manifest.fingerprint)}"
    )
    versions = [f"{name} {version}" for name, version in manifest.made_by.items()]
    console.print(f"made with {', '.join(versions)}", markup=False)
    console.print(
        f"{plural(len(manifest.parts), 'file')}, {found.bytes / 1e6:,.1f} MB"
        + (f", [bold]{len(found.damaged)} of them damaged[/bold]" if found.damaged else "")
    )
    for name in found.damaged[:10]:
        console.print(f"  damaged or missing: {name}", markup=False)
    for title, values in (
        ("counts", manifest.counts),
        ("figures", figures(manifest)),
        ("configuration", manifest.config),
    ):
        if values:
            table = Table(title=title, show_header=False, title_justify="left")
            for name, value in values.items():
                table.add_row(_plain(name), _plain(_shown(value)))
            console.print(table)
    if found.lineage:
        console.print("made from")
        for given in found.lineage:
            indent = "  " * given.depth
            state = "" if given.state == "source" else f"  ({given.state})"
            line = f"{indent}{given.stage or 'source'}  {given.uri}{state}"
            console.print(line, markup=False)
    if found.people is not None:
        _show_people(console, found.people)


def _show_people(console: Console, people: People) -> None:
    console.print(
        f"{plural(people.identities, 'person', 'people')}, {plural(people.images, 'image')}; "
        f"per person {people.fewest:,} to {people.most:,}, median {people.median:g}"
    )
    most = max((count for _, count in people.histogram), default=0)
    for label, count in people.histogram:
        bar = "█" * -(-count * _BAR // most) if most else ""
        console.print(f"  {label:>9} images  {count:>8,}  {bar}")
    largest = ", ".join(f"{name} ({count:,})" for name, count in people.largest)
    console.print(f"most images: {largest}", markup=False)


def _plain(text: str) -> str:
    """A name for rich, without markup of its own."""
    from rich.markup import escape

    return escape(text)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value).replace("\n", "; ")
    return text if len(text) <= 100 else text[:99] + "…"
