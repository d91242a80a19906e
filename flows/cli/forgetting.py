"""What `facenet storage forget` does and prints."""

from __future__ import annotations

from typing import Any

from facenet_core.housekeeping.inventory import Artifact
from facenet_core.privacy.forget import Forgetting, carry_out, plan_forgetting
from facenet_core.text.plural import plural
from flows.cli.storage_tables import print_table
from flows.cli.terminal import echo, echo_error, echo_json


def forget(root: str, identity: str, yes: bool, delete_affected: bool, as_json: bool) -> None:
    """`facenet storage forget`."""
    plan = plan_forgetting(root, identity)
    if yes:
        carry_out(plan, delete_affected, echo_error)
    if as_json:
        echo_json(_forgetting_json(plan, yes, delete_affected))
        return
    _show_forgetting(plan, yes, delete_affected)


def _forgetting_json(plan: Forgetting, yes: bool, delete_affected: bool) -> dict[str, Any]:
    return {
        "root": plan.root,
        "identity": plan.identity,
        "done": yes,
        "forgotten_before": plan.known,
        "similar": plan.similar,
        "rewritten": [
            {"uri": r.artifact.uri, "rows": r.rows, "as": r.plan.uri} for r in plan.rewrites
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


def _show_forgetting(plan: Forgetting, yes: bool, delete_affected: bool) -> None:
    if plan.nowhere:
        echo(f"{plan.identity}: in no artifact of {plan.root}")
    for name in plan.similar:
        echo(f"of almost the same name, and left alone: {name}")
    rows = [
        (r.artifact.label, f"{r.rows:,}", f"now {r.plan.fingerprint}" if yes else "written again")
        for r in plan.rewrites
    ]
    rows += [(artifact.label, "", f"removed: {why}") for artifact, why in plan.removed]
    if rows:
        print_table(("photographs and crops", "rows", ""), rows, right=(1,))
    gone = [("download", uri) for uri in plan.downloads]
    gone += [("remembered shards", label) for label in plan.results]
    if plan.caches:
        gone.append(
            ("cached copies", f"{plural(len(plan.caches), 'file')} in {plan.caches[0].parents[1]}")
        )
    if gone:
        echo()
        print_table(("removed" if yes else "would go", ""), gone)
    if plan.affected:
        echo()
        rows = [
            (one.artifact.label, one.why, _advice(one.artifact, yes, delete_affected))
            for one in plan.affected
        ]
        print_table(("affected", "why", "what to do"), rows)
    for source in plan.sources:
        echo(f"\nThe source itself is not touched, and ingest leaves the person out: {source}")
    echo()
    if yes:
        echo(f"Forgotten. Nothing takes {plan.identity} into {plan.root} any more.")
        echo("Caches of other machines that trained on these crops, exported folders, classifiers")
        echo("and copies elsewhere are not within reach: remove them there.")
    else:
        hint = "was forgotten before; " if plan.known else ""
        echo(f"Nothing was changed: {hint}--yes does it, and cannot be undone.")


def _advice(artifact: Artifact, yes: bool, delete_affected: bool) -> str:
    if artifact.promoted:
        return "in use: train and promote another, then remove it by name"
    if delete_affected:
        return "removed" if yes else "would be removed"
    if artifact.stage == "train":
        return "train again, then --delete-affected"
    return "validate again, then --delete-affected"
