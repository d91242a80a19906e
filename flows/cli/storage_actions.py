"""The actions of `facenet storage`, and what they print: tables for people, or one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.housekeeping import collection, inventory
from facenet_core.housekeeping.inventory import Inventory, StoredArtifact
from facenet_core.housekeeping.lineage import Lineage
from facenet_core.privacy.forget import Forgetting, carry_out, plan_forgetting
from facenet_core.text.plural import plural
from flows.cli.output import echo, echo_error, echo_json, human, print_columns, progress_bar

if TYPE_CHECKING:
    from facenet_core.housekeeping.collection import Decision
    from facenet_core.housekeeping.verification import Checked

_MB = 10**6
# Of an artifact's counts, those worth a place in a line.
_NOUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "ingest": {
        "images": ("image",),
        "identities": ("person", "people"),
        "skipped": ("skipped", "skipped"),
    },
    "align": {"crops": ("crop",), "rejects": ("reject",)},
    "embed": {"embeddings": ("embedding",)},
    "audit": {"images": ("image",), "kept": ("kept", "kept")},
    "train": {"identities": ("person", "people"), "epochs": ("epoch",)},
    "validate": {"pairs": ("pair",), "pairs_skipped": ("skipped", "skipped")},
}
_KINDS = {
    "results": "what Prefect remembers of shards",
    "downloads": "kept download",
    "temporary": "temporary file",
    "other": "not of this program",
}


def list_artifacts(
    root: str, uris: Sequence[str], stage: str | None, tree: bool, as_json: bool
) -> None:
    """`facenet storage ls`."""
    stock = inventory.take(root)
    lineage = Lineage(stock)
    artifacts = _selected(stock, uris, stage)
    if as_json:
        values = [_as_json(artifact, lineage) for artifact in artifacts]
        echo_json({"root": stock.root, "artifacts": values, "links": stock.links})
        return
    if tree:
        labels = [
            (leaf.artifact, "  " * leaf.depth + leaf.artifact.label)
            for leaf in lineage.tree(artifacts)
        ]
    else:
        labels = [(artifact, artifact.label) for artifact in artifacts]
    rows = [_row(artifact, label, lineage) for artifact, label in labels]
    heads = ("artifact", "state", "holds", "size", "finished", "made from")
    print_columns(heads, rows, right=(3,))
    for artifact in artifacts:
        if artifact.state == "damaged":
            echo(f"damaged: {artifact.label}: {artifact.why}")
    for link in stock.links:
        echo(f"a link, not followed: {link}")
    echo(f"{plural(len(artifacts), 'artifact')} in {stock.root}")


def list_sizes(root: str, stage: str | None, as_json: bool) -> None:
    """`facenet storage du`."""
    stock = inventory.take(root)
    artifacts = _selected(stock, (), stage)
    beside = [] if stage else list(stock.beside)
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
        answer = {"root": stock.root, "bytes": sum(sums.values()), "by": sums, "of_these": parts}
        echo_json({**answer, "artifacts": each, "beside": others})
        return
    rows = [
        (human(a.bytes), f"{a.objects:,}", a.label, _remark(a))
        for a in sorted(artifacts, key=lambda a: -a.bytes)
    ]
    rows += [(human(b.bytes), f"{b.objects:,}", b.label, _KINDS[b.kind]) for b in beside]
    print_columns(("size", "objects", "", ""), rows, right=(0, 1))
    echo()
    print_columns(("", ""), [(human(n), name) for name, n in sums.items()], right=(0,))
    of_these = ", ".join(f"{name} {human(size)}" for name, size in parts.items() if size)
    echo(f"{human(sum(sums.values()))} in {stock.root}" + (f"; {of_these}" if of_these else ""))


def verify(
    root: str, uris: Sequence[str], stage: str | None, set_aside: bool, as_json: bool
) -> None:
    """`facenet storage verify`.

    Raises:
        ArtifactError: something is damaged; the message says what, and how it is made again.
    """
    from facenet_core.housekeeping import verification

    stock = inventory.take(root)
    artifacts = _selected(stock, uris, stage)
    if not uris:  # what is unfinished is not damaged
        artifacts = [artifact for artifact in artifacts if artifact.state != "unfinished"]
    checked = _verified(artifacts)
    damaged = dict.fromkeys(damage.artifact for damage in checked.damages)
    commands = {artifact.uri: verification.remake(artifact) for artifact in damaged}
    if set_aside:
        verification.set_aside(checked.damages)
    if as_json:
        damages = [
            {"artifact": d.artifact.uri, "part": d.part, "what": d.what} for d in checked.damages
        ]
        answer = {"root": stock.root, "artifacts": checked.artifacts, "parts": checked.parts}
        answer |= {"bytes": checked.bytes, "damages": damages, "set_aside": set_aside}
        echo_json({**answer, "remake": commands})
    else:
        amount = (
            f"{plural(checked.artifacts, 'artifact')}, {plural(checked.parts, 'part')}, "
            f"{human(checked.bytes)} read"
        )
        echo(f"{amount}; {len(checked.damages) or 'nothing'} damaged")
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
    stock = inventory.take(root)
    rules = collection.Rules(
        frozenset(inventory.named(stock, uris)),
        older_than,
        collection.UNFINISHED_AFTER if unfinished_older_than is None else unfinished_older_than,
    )
    decisions = collection.decide(stock, rules, datetime.now(UTC))
    if yes:
        decisions = collection.carry_out(stock, decisions)
    going = [decision for decision in decisions if decision.remove]
    if as_json:
        answer = {"root": stock.root, "removed": yes, "bytes": sum(v.bytes for v in going)}
        echo_json({**answer, "verdicts": [asdict(decision) for decision in decisions]})
    else:
        _print_decisions(stock, decisions, yes)
    if refused := [decision for decision in decisions if decision.refused]:
        reasons = "; ".join(f"{decision.label}: {decision.why}" for decision in refused)
        raise ArtifactError(f"named, but not removed: {reasons}")


def _selected(stock: Inventory, uris: Sequence[str], stage: str | None) -> list[StoredArtifact]:
    """The artifacts of these URIs, or all; of one stage, if one is named."""
    artifacts = inventory.named(stock, uris) if uris else list(stock.artifacts)
    return [artifact for artifact in artifacts if stage in (None, artifact.stage)]


def _verified(artifacts: Sequence[StoredArtifact]) -> Checked:
    """Read all parts, with a progress bar of their bytes."""
    from facenet_core.housekeeping import verification

    done, lock = 0, Lock()
    with progress_bar("verify", sum(a.bytes for a in artifacts) // _MB, "MB") as report:

        def advance(size: int) -> None:  # called from several threads
            nonlocal done
            with lock:
                done += size
                report(done // _MB)

        return verification.verify(artifacts, advance)


def _as_json(artifact: StoredArtifact, lineage: Lineage) -> dict[str, Any]:
    return {
        **{key: getattr(artifact, key) for key in ("stage", "name", "fingerprint", "uri", "state")},
        **{key: getattr(artifact, key) for key in ("why", "bytes", "objects", "attempts")},
        "finished": artifact.finished and artifact.finished.isoformat(),
        "newest": artifact.newest.isoformat(),
        "promoted": artifact.promoted,
        "counts": dict(artifact.counts),
        "inputs": [asdict(one) for one in artifact.inputs],
        "used_by": [user.uri for user in lineage.users(artifact)],
    }


def _row(artifact: StoredArtifact, label: str, lineage: Lineage) -> tuple[str, ...]:
    labels = {origin.fingerprint: origin.label for origin in lineage.made_from(artifact)}
    origins = [labels.get(one.fingerprint, one.uri) for one in artifact.inputs]
    done = artifact.finished.astimezone().strftime("%Y-%m-%d %H:%M") if artifact.finished else "–"
    state = f"{artifact.state}, in use" if artifact.promoted else artifact.state
    return (label, state, _holds(artifact), human(artifact.bytes), done, ", ".join(origins))


def _holds(artifact: StoredArtifact) -> str:
    counts = artifact.counts
    nouns = _NOUNS[artifact.stage].items()
    texts = [plural(counts[name], *noun) for name, noun in nouns if counts.get(name)]
    if redacted := counts.get("redacted"):
        texts.append(f"{redacted:,} redacted")
    return ", ".join(texts) or "–"


def _remark(artifact: StoredArtifact) -> str:
    remarks: list[str] = [artifact.state] if artifact.state != "finished" else []
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


def _print_decisions(stock: Inventory, decisions: Sequence[Decision], yes: bool) -> None:
    going = [decision for decision in decisions if decision.remove]
    staying = [decision for decision in decisions if not decision.remove]
    for title, group in (("removed" if yes else "would go", going), ("stays", staying)):
        if group:
            rows = [(v.label, human(v.bytes), f"{v.objects:,}", v.why) for v in group]
            print_columns((title, "size", "objects", "why"), rows, right=(1, 2))
            echo()
    total = human(sum(decision.bytes for decision in going))
    if yes or not going:
        echo(
            f"{total} removed from {stock.root}" if going else f"nothing to remove in {stock.root}"
        )
    else:
        echo(f"{total} would go from {stock.root}; --yes removes it")


def forget(root: str, identity: str, yes: bool, delete_affected: bool, as_json: bool) -> None:
    """`facenet storage forget`."""
    plan = plan_forgetting(root, identity)
    if yes:
        carry_out(plan, delete_affected, echo_error)
    if as_json:
        echo_json(_forgetting_as_json(plan, yes, delete_affected))
    else:
        _print_forgetting(plan, yes, delete_affected)


def _forgetting_as_json(plan: Forgetting, yes: bool, delete_affected: bool) -> dict[str, Any]:
    return {
        "root": plan.root,
        "identity": plan.identity,
        "done": yes,
        "forgotten_before": plan.known,
        "similar": plan.similar,
        "rewritten": [
            {"uri": r.stored.uri, "rows": r.rows, "as": r.plan.uri} for r in plan.rewrites
        ],
        "removed": [{"uri": artifact.uri, "why": why} for artifact, why in plan.removed],
        "downloads": plan.downloads,
        "results": plan.results,
        "caches": [str(path) for path in plan.caches],
        "affected": [
            {"uri": one.artifact.uri, "why": one.why, "in_use": one.artifact.promoted}
            | {"deleted": yes and delete_affected and not one.artifact.promoted}
            for one in plan.affected
        ],
        "sources": plan.sources,
    }


def _print_forgetting(plan: Forgetting, yes: bool, delete_affected: bool) -> None:
    if plan.nowhere:
        echo(f"{plan.identity}: in no artifact of {plan.root}")
    for name in plan.similar:
        echo(f"of almost the same name, and not touched: {name}")
    rows = [
        (r.stored.label, f"{r.rows:,}", f"now {r.plan.fingerprint}" if yes else "written again")
        for r in plan.rewrites
    ]
    rows += [(artifact.label, "", f"removed: {why}") for artifact, why in plan.removed]
    if rows:
        print_columns(("photographs, crops, embeddings", "rows", ""), rows, right=(1,))
    removals = [("download", uri) for uri in plan.downloads]
    removals += [("remembered shards", label) for label in plan.results]
    if plan.caches:
        removals.append(
            ("cached copies", f"{plural(len(plan.caches), 'file')} in {plan.caches[0].parents[1]}")
        )
    if removals:
        echo()
        print_columns(("removed" if yes else "would go", ""), removals)
    if plan.affected:
        echo()
        rows = [
            (one.artifact.label, one.why, _advice(one.artifact, yes, delete_affected))
            for one in plan.affected
        ]
        print_columns(("affected", "why", "what to do"), rows)
    for source in plan.sources:
        echo(f"\nThe source itself is not touched, and ingest leaves the person out: {source}")
    echo()
    if yes:
        echo(f"Forgotten. Nothing takes {plan.identity} into {plan.root} any more.")
        echo("Caches of other machines that trained on these crops, exported folders, classifiers")
        echo("and copies elsewhere cannot be reached from here: remove them there.")
    else:
        hint = "was forgotten before; " if plan.known else ""
        echo(f"Nothing was changed: {hint}--yes does it, and cannot be undone.")


def _advice(artifact: StoredArtifact, yes: bool, delete_affected: bool) -> str:
    if artifact.promoted:
        return "in use: train and promote another, then remove it by name"
    if delete_affected:
        return "removed" if yes else "would be removed"
    again = {"train": "train", "audit": "audit"}.get(artifact.stage, "validate")
    return f"{again} again, then --delete-affected"
