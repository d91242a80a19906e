"""What `facenet storage` does and prints: tables for people, or one JSON object."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.housekeeping import collection, inventory
from facenet_core.housekeeping.inventory import Artifact, Inventory
from facenet_core.housekeeping.lineage import Lineage
from facenet_core.text.plural import plural
from flows.cli.terminal import echo, echo_json

if TYPE_CHECKING:
    from facenet_core.housekeeping.collection import Verdict
    from facenet_core.housekeeping.verification import Checked

# Of an artifact's counts, those worth a place in a line.
_COUNTS = {
    "ingest": {
        "images": ("image",),
        "identities": ("person", "people"),
        "skipped": ("skipped", "skipped"),
    },
    "align": {"crops": ("crop",), "rejects": ("reject",)},
    "train": {"identities": ("person", "people"), "epochs": ("epoch",)},
    "validate": {"pairs": ("pair",), "pairs_skipped": ("skipped", "skipped")},
}


def show_artifacts(
    root: str, uris: Sequence[str], stage: str | None, tree: bool, as_json: bool
) -> None:
    """`facenet storage ls`."""
    held = inventory.take(root)
    lineage = Lineage(held)
    shown = inventory.named(held, uris) if uris else list(held.artifacts)
    shown = [artifact for artifact in shown if stage in (None, artifact.stage)]
    if as_json:
        artifacts = [_as_json(artifact, lineage) for artifact in shown]
        echo_json({"root": held.root, "artifacts": artifacts, "links": held.links})
        return
    rows = []
    if tree:
        for leaf in lineage.tree(shown):
            rows.append(_line(leaf.artifact, "  " * leaf.depth + leaf.artifact.label, lineage))
    else:
        rows = [_line(artifact, artifact.label, lineage) for artifact in shown]
    heads = ("artifact", "state", "holds", "size", "finished", "made from")
    print_table(heads, rows, right=(3,))
    for artifact in shown:
        if artifact.state == "damaged":
            echo(f"damaged: {artifact.label}: {artifact.why}")
    for link in held.links:
        echo(f"a link, not followed: {link}")
    echo(f"{plural(len(shown), 'artifact')} in {held.root}")


def show_sizes(root: str, stage: str | None, as_json: bool) -> None:
    """`facenet storage du`."""
    held = inventory.take(root)
    artifacts = [a for a in held.artifacts if stage in (None, a.stage)]
    beside = [] if stage else list(held.beside)
    sums: dict[str, int] = {}
    for artifact in artifacts:
        folder = storage.STAGE_FOLDERS[artifact.stage]
        sums[folder] = sums.get(folder, 0) + artifact.bytes
    parts = {
        "attempts of models": sum(a.attempts for a in artifacts),
        "unfinished": sum(a.bytes for a in artifacts if a.state == "unfinished"),
    }
    for kind in ("results", "downloads", "temporary", "other"):
        sums[kind] = sum(one.bytes for one in beside if one.kind == kind)
    sums = {name: size for name, size in sums.items() if size}
    if as_json:
        each = [
            {"artifact": a.label, "bytes": a.bytes, "objects": a.objects, "attempts": a.attempts}
            | {"state": a.state}
            for a in artifacts
        ]
        others = [asdict(one) for one in beside]
        answer = {"root": held.root, "bytes": sum(sums.values()), "by": sums, "of_these": parts}
        echo_json({**answer, "artifacts": each, "beside": others})
        return
    rows = [
        (human(a.bytes), f"{a.objects:,}", a.label, _remark(a))
        for a in sorted(artifacts, key=lambda a: -a.bytes)
    ]
    rows += [(human(b.bytes), f"{b.objects:,}", b.label, _KINDS[b.kind]) for b in beside]
    print_table(("size", "objects", "", ""), rows, right=(0, 1))
    echo()
    print_table(("", ""), [(human(n), name) for name, n in sums.items()], right=(0,))
    of_these = ", ".join(f"{name} {human(size)}" for name, size in parts.items() if size)
    echo(f"{human(sum(sums.values()))} in {held.root}" + (f"; {of_these}" if of_these else ""))


_KINDS = {
    "results": "what Prefect remembers of shards",
    "downloads": "kept download",
    "temporary": "temporary file",
    "other": "not of this program",
}


def verify(
    root: str, uris: Sequence[str], stage: str | None, set_aside: bool, as_json: bool
) -> None:
    """`facenet storage verify`.

    Raises:
        ArtifactError: something is damaged; the message says what, and how it is made again.
    """
    from facenet_core.housekeeping import verification

    held = inventory.take(root)
    chosen = inventory.named(held, uris) if uris else list(held.artifacts)
    chosen = [a for a in chosen if stage in (None, a.stage)]
    if not uris:  # what is unfinished is not damaged
        chosen = [artifact for artifact in chosen if artifact.state != "unfinished"]
    with _bar("verify", sum(artifact.bytes for artifact in chosen)) as progress:
        checked = verification.verify(chosen, progress)
    manifests = {d.artifact.uri: inventory.open_manifest(d.artifact) for d in checked.damages}
    commands = {
        d.artifact.uri: verification.remake(d.artifact, manifests[d.artifact.uri])
        for d in checked.damages
    }
    if set_aside:
        verification.set_aside(checked.damages)
    if as_json:
        damages = [
            {"artifact": d.artifact.uri, "part": d.part, "what": d.what} for d in checked.damages
        ]
        answer = {"root": held.root, "artifacts": checked.artifacts, "parts": checked.parts}
        answer |= {"bytes": checked.bytes, "damages": damages, "set_aside": set_aside}
        echo_json({**answer, "remake": commands})
    else:
        told = (
            f"{plural(checked.artifacts, 'artifact')}, {plural(checked.parts, 'part')}, "
            f"{human(checked.bytes)} read"
        )
        echo(f"{told}; {len(checked.damages) or 'nothing'} damaged")
    if checked.damages:
        raise ArtifactError(_damage(checked, commands, set_aside))


def collect(
    root: str,
    uris: Sequence[str],
    older_than: timedelta | None,
    unfinished_older_than: timedelta | None,
    yes: bool,
    as_json: bool,
) -> None:
    """`facenet storage gc`.

    Raises:
        ArtifactError: something that was named stays.
    """
    held = inventory.take(root)
    rules = collection.Rules(
        frozenset(inventory.named(held, uris)),
        older_than,
        collection.UNFINISHED_AFTER if unfinished_older_than is None else unfinished_older_than,
    )
    verdicts = collection.judge(held, rules, datetime.now(UTC))
    if yes:
        verdicts = collection.carry_out(held, verdicts)
    going = [verdict for verdict in verdicts if verdict.remove]
    if as_json:
        answer = {"root": held.root, "removed": yes, "bytes": sum(v.bytes for v in going)}
        echo_json({**answer, "verdicts": [asdict(verdict) for verdict in verdicts]})
    else:
        _show_verdicts(held, verdicts, yes)
    if refused := [verdict for verdict in verdicts if verdict.refused]:
        reasons = "; ".join(f"{verdict.label}: {verdict.why}" for verdict in refused)
        raise ArtifactError(f"named, but not removed: {reasons}")


def human(size: int) -> str:
    """Bytes in the largest decimal unit that leaves at least 1: `1.4 GB`."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def _as_json(artifact: Artifact, lineage: Lineage) -> dict[str, Any]:
    return {
        **{key: getattr(artifact, key) for key in ("stage", "name", "fingerprint", "uri", "state")},
        **{key: getattr(artifact, key) for key in ("why", "bytes", "objects", "attempts")},
        "finished": artifact.finished and artifact.finished.isoformat(),
        "newest": artifact.newest.isoformat(),
        "promoted": artifact.promoted,
        "counts": dict(artifact.counts),
        "inputs": [asdict(given) for given in artifact.inputs],
        "used_by": [user.uri for user in lineage.users(artifact)],
    }


def _line(artifact: Artifact, label: str, lineage: Lineage) -> tuple[str, ...]:
    known = {given.fingerprint: given for given in lineage.made_from(artifact)}
    origins = []
    for given in artifact.inputs:
        origin = known.get(given.fingerprint)
        origins.append(origin.label if origin else given.uri)
    done = artifact.finished.astimezone().strftime("%Y-%m-%d %H:%M") if artifact.finished else "–"
    state = f"{artifact.state}, in use" if artifact.promoted else artifact.state
    return (label, state, _holds(artifact), human(artifact.bytes), done, ", ".join(origins))


def _holds(artifact: Artifact) -> str:
    nouns = _COUNTS[artifact.stage].items()
    shown = [plural(artifact.counts[k], *noun) for k, noun in nouns if artifact.counts.get(k)]
    if redacted := artifact.counts.get("redacted"):
        shown.append(f"{redacted:,} redacted")
    return ", ".join(shown) or "–"


def _remark(artifact: Artifact) -> str:
    remarks = [artifact.state] if artifact.state != "finished" else []
    if artifact.attempts:
        remarks.append(f"{human(artifact.attempts)} of it attempts")
    return ", ".join(remarks)


def _damage(checked: Checked, commands: Mapping[str, str], set_aside: bool) -> str:
    lines = []
    for uri, command in commands.items():
        damages = [damage for damage in checked.damages if damage.artifact.uri == uri]
        lines.append(f"{uri}:")
        lines += [f"  {d.part or 'artifact'}: {d.what}" for d in damages]
        lines.append(f"  made again by: {command}")
    what = (
        "the damaged parts and their manifests were removed; these commands make them again"
        if set_aside
        else "verify --set-aside removes the damaged parts, and the commands make them again"
    )
    return f"{plural(len(commands), 'damaged artifact')}; {what}\n" + "\n".join(lines)


def _show_verdicts(held: Inventory, verdicts: Sequence[Verdict], yes: bool) -> None:
    going = [verdict for verdict in verdicts if verdict.remove]
    staying = [verdict for verdict in verdicts if not verdict.remove]
    for title, found in (("removed" if yes else "would go", going), ("stays", staying)):
        if found:
            rows = [(v.label, human(v.bytes), f"{v.objects:,}", v.why) for v in found]
            print_table((title, "size", "objects", "why"), rows, right=(1, 2))
            echo()
    total = human(sum(verdict.bytes for verdict in going))
    if yes or not going:
        echo(f"{total} removed from {held.root}" if going else f"nothing to remove in {held.root}")
    else:
        echo(f"{total} would go from {held.root}; --yes removes it")


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """Aligned columns, never wrapped: a line is an item also in a pipe."""
    lines = ([heads] if any(heads) else []) + list(rows)
    widths = [max((len(line[n]) for line in lines), default=0) for n in range(len(heads))]
    for line in lines:
        cells = [
            text.rjust(width) if n in right else text.ljust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        echo("  ".join(cells).rstrip())


@contextmanager
def _bar(title: str, total: int) -> Iterator[Any]:
    """A bar of bytes on a terminal; yields `advance(bytes)`, for any thread."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    lock = Lock()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        row = bar.add_task(title, total=total)

        def advance(done: int) -> None:
            with lock:
                bar.advance(row, done)

        yield advance
