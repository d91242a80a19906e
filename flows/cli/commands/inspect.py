"""what is in an artifact: counts, lineage, people, sample pictures

Of any artifact: its manifest, what it was made from, and a sheet of sample pictures as a PNG.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from facenet_core.text.plural import plural
from flows.cli import options as common
from flows.cli import output
from flows.cli.context import Context
from flows.cli.output import echo, echo_json

if TYPE_CHECKING:
    from rich.console import Console

    from facenet_core.housekeeping.inspect import Overview, People

COMMON = ("config", "storage_credentials")
_BAR = 40  # characters of the longest bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="URI", help="folder of an artifact, as a stage printed it")
    parser.add_argument(
        "--samples",
        type=common.ending_in(".png"),
        metavar="FILE",
        help="where the sheet goes; default: the user's cache folder",
    )
    parser.add_argument("--no-samples", action="store_true", help="draw no sheet")


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core import storage
    from facenet_core.cache import cache_folder
    from facenet_core.housekeeping.inspect import overview
    from facenet_core.housekeeping.sample_sheet import picture_sheet

    seen = overview(storage.absolute(options.uri))
    artifact = seen.artifact
    sheet = samples = None
    if not options.no_samples and not seen.damaged:
        sheet = picture_sheet(artifact)
    if sheet is not None:
        name = f"{artifact.stage}-{artifact.name}-{artifact.fingerprint}.png"
        samples = storage.absolute(options.samples or str(cache_folder() / "samples" / name))
        storage.write_bytes(samples, sheet)
    if context.json:
        answer = asdict(seen)
        echo_json({**answer.pop("artifact"), **answer, "samples": samples})
        return
    _print_overview(seen)
    if samples is not None:
        echo(f"Samples: {samples}")
    echo(artifact.uri)


def _print_overview(seen: Overview) -> None:
    from rich.table import Table

    from facenet_core.housekeeping.inspect import metrics

    artifact = seen.artifact
    console = output.console(soft_wrap=True, highlight=False)
    console.print(
        f"[bold]{_plain(artifact.name)}[/bold], made by `{_plain(artifact.stage)}`, "
        f"{_plain(artifact.fingerprint)}"
    )
    versions = [f"{name} {version}" for name, version in artifact.made_by.items()]
    console.print(f"made with {', '.join(versions)}", markup=False)
    console.print(
        f"{plural(len(artifact.parts), 'file')}, {output.human(seen.bytes)}"
        + (f", [bold]{len(seen.damaged)} of them damaged[/bold]" if seen.damaged else "")
    )
    for name in seen.damaged[:10]:
        console.print(f"  damaged or missing: {name}", markup=False)
    for title, values in (
        ("counts", artifact.counts),
        ("metrics", metrics(artifact)),
        ("configuration", artifact.config),
    ):
        if values:
            table = Table(title=title, show_header=False, title_justify="left")
            for name, value in values.items():
                table.add_row(_plain(name), _plain(_as_text(value)))
            console.print(table)
    if seen.lineage:
        console.print("made from")
        for ancestor in seen.lineage:
            indent = "  " * ancestor.depth
            state = "" if ancestor.state == "source" else f"  ({ancestor.state})"
            line = f"{indent}{ancestor.stage or 'source'}  {ancestor.uri}{state}"
            console.print(line, markup=False)
    if seen.people is not None:
        _print_people(console, seen.people)


def _print_people(console: Console, people: People) -> None:
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


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value).replace("\n", "; ")
    return text if len(text) <= 100 else text[:99] + "…"
