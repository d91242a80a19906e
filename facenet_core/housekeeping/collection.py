"""What may go from a storage root, and why the rest stays.

decisions = decide(inventory, rules, now)       # pure
carry_out(inventory, decisions)

Unfinished folders go once their newest object is older than a limit: a run that still writes is
never touched. Finished artifacts go only when they are named, or with an age; never a report, a
model in use, or what these were made from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from facenet_core import storage
from facenet_core.housekeeping import inventory as inventories
from facenet_core.housekeeping import objects
from facenet_core.housekeeping.inventory import Beside, Inventory, StoredArtifact
from facenet_core.housekeeping.lineage import Lineage
from facenet_core.housekeeping.objects import Object
from facenet_core.training import checkpoints

UNFINISHED_AFTER = timedelta(days=7)  # whoever is to go on with a training may be on holiday

# What a run of each stage reads while it writes an unfinished folder.
_READS = {
    "ingest": (),
    "align": ("ingest",),
    "train": ("align", "train", "audit"),
    "embed": ("align", "train"),
    "audit": ("align", "embed", "ingest", "train"),
    "validate": ("align", "train", "embed"),
}
# Whose name an artifact has, by its stage.
_NAMED_AFTER = {"align": "ingest", "embed": "align"}


@dataclass(frozen=True)
class Rules:
    """What is asked for.

    Attributes:
        named: artifacts that are to go whatever their age.
        older_than: finished artifacts that were done longer ago go; None: none for its age.
        unfinished_after: age of the newest object from which on unfinished folders, temporary files
            and what Prefect remembers go.
    """

    named: frozenset[StoredArtifact] = frozenset()
    older_than: timedelta | None = None
    unfinished_after: timedelta = UNFINISHED_AFTER


@dataclass(frozen=True)
class Decision:
    """What happens to an artifact or another object of a root.

    Attributes:
        label: its path below the root.
        remove: whether it is removed.
        why: the reason for removing or keeping it.
        refused: it was named for removal and must stay.
        names: paths below `label` of the objects to remove; empty for all of them.
        folder: whether `label` is a folder.
    """

    label: str
    remove: bool
    why: str
    bytes: int
    objects: int
    refused: bool = False
    names: tuple[str, ...] = ()
    folder: bool = True


def decide(inventory: Inventory, rules: Rules, now: datetime) -> list[Decision]:
    """Decide on everything in a root, in the order of the inventory."""
    lineage = Lineage(inventory)
    kept_for = _protected(inventory, lineage)
    at_work = _at_work(inventory, rules, now)
    going = _going(inventory, lineage, rules, now, set(kept_for) | set(at_work))
    decisions: list[Decision] = []
    for artifact in inventory.artifacts:
        why_not = kept_for.get(artifact) or at_work.get(artifact)
        decisions.append(_decide(artifact, going.get(artifact), why_not, lineage, rules, now))
        if artifact not in going and (leftovers := _leftovers(artifact, rules, now)):
            decisions.append(leftovers)
    staying = {a.fingerprint: a for a in inventory.artifacts if a not in going}
    for beside in inventory.beside:
        decisions.append(_beside(beside, staying, rules, now))
    return decisions


def carry_out(inventory: Inventory, decisions: Iterable[Decision]) -> list[Decision]:
    """Remove what is to go; the manifest of an artifact before the rest of it.

    A folder that was written to since it was looked at stays.

    Returns:
        The decisions as they turned out.

    Raises:
        StorageError: something cannot be removed.
    """
    done = []
    seen = {artifact.label: artifact for artifact in inventory.artifacts}
    order = list(decisions)
    for decision in reversed(order):  # reports, models, crops, raw: users before what they use
        if decision.remove:
            artifact = seen.get(decision.label)
            if artifact is not None and not decision.names and _came_alive(artifact):
                why = "was written to just now; see again later"
                decision = Decision(decision.label, False, why, decision.bytes, decision.objects)
            else:
                _remove(inventory.root, decision)
        done.append(decision)
    return done[::-1]


def age(span: timedelta) -> str:
    """`3 days`, `5 h`, `12 min`: the largest unit alone."""
    seconds = max(span.total_seconds(), 0)
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length or (unit == "min" and seconds >= 60):
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _protected(inventory: Inventory, lineage: Lineage) -> dict[StoredArtifact, str]:
    """What never goes, and why."""
    reasons: dict[StoredArtifact, str] = {}
    for artifact in inventory.artifacts:
        if artifact.stage == "validate" and artifact.state != "unfinished":
            reasons[artifact] = "a report"
        elif artifact.promoted:
            reasons[artifact] = "a model in use (latest.json)"
    for ancestor, of in lineage.ancestors(list(reasons)).items():
        reasons.setdefault(ancestor, f"{of.label} was made from it")
    return reasons


def _at_work(inventory: Inventory, rules: Rules, now: datetime) -> dict[StoredArtifact, str]:
    """What runs that still write their output may be reading.

    An unfinished folder does not say what it is made from. Crops have the name of their raw
    artifact, embeddings that of their crops; a model or report may be made from any of what it
    reads.
    """
    reading: dict[StoredArtifact, str] = {}
    for writer in inventory.artifacts:
        if writer.state != "unfinished" or now - writer.newest > rules.unfinished_after:
            continue
        for artifact in inventory.artifacts:
            same = artifact.stage != _NAMED_AFTER.get(writer.stage) or artifact.name == writer.name
            read = artifact.stage in _READS[writer.stage] and same
            if read and artifact.state != "unfinished":
                reading[artifact] = f"{writer.label} is being made, perhaps from it"
    return reading


def _going(
    inventory: Inventory,
    lineage: Lineage,
    rules: Rules,
    now: datetime,
    protected: Collection[StoredArtifact],
) -> dict[StoredArtifact, str]:
    """The artifacts that go, and why."""
    going: dict[StoredArtifact, str] = {}
    for artifact in inventory.artifacts:
        still = now - artifact.newest
        if artifact.state == "unfinished":
            if still > rules.unfinished_after:
                going[artifact] = f"unfinished, nothing written for {age(still)}"
        elif artifact in protected:
            continue
        elif artifact in rules.named:
            going[artifact] = "named"
        elif rules.older_than is not None and (old := now - _done(artifact)) > rules.older_than:
            going[artifact] = f"{artifact.state} {age(old)} ago"
    while True:  # what goes for its age alone stays as long as something that stays needs it
        needed = {
            artifact
            for artifact in going
            if artifact.state != "unfinished"
            and artifact not in rules.named
            and any(user not in going for user in lineage.users(artifact))
        }
        if not needed:
            return going
        going = {artifact: why for artifact, why in going.items() if artifact not in needed}


def _done(artifact: StoredArtifact) -> datetime:
    return artifact.finished or artifact.newest


def _decide(
    artifact: StoredArtifact,
    going: str | None,
    protected: str | None,
    lineage: Lineage,
    rules: Rules,
    now: datetime,
) -> Decision:
    size = (artifact.bytes, artifact.objects)
    if going is not None:
        return Decision(artifact.label, True, going, *size)
    refused = artifact in rules.named
    if artifact.state == "unfinished":
        why = f"unfinished, last written {age(now - artifact.newest)} ago"
    elif protected is not None:
        why = protected
    elif rules.older_than is None:
        why = f"{artifact.state}; goes only if named or with --older-than"
    elif now - _done(artifact) <= rules.older_than:
        why = f"{artifact.state} {age(now - _done(artifact))} ago"
    else:
        why = f"{lineage.users(artifact)[0].label} was made from it"
    return Decision(artifact.label, False, why, *size, refused=refused)


def _leftovers(artifact: StoredArtifact, rules: Rules, now: datetime) -> Decision | None:
    """Old temporary files, and checkpoints that a finished model does not keep."""
    leftovers = [(one, "temporary files") for one in artifact.temporary]
    if artifact.stage == "train" and artifact.state == "finished" and artifact.attempts:
        leftovers += [(one, "superseded checkpoints") for one in _superseded(artifact)]
    old = [(one, what) for one, what in leftovers if now - one.modified > rules.unfinished_after]
    if not old:
        return None
    why = " and ".join(dict.fromkeys(what for _, what in old))
    names = tuple(dict.fromkeys(one.name for one, _ in old))
    return Decision(
        artifact.label, True, why, sum(one.bytes for one, _ in old), len(names), names=names
    )


def _superseded(artifact: StoredArtifact) -> list[Object]:
    """All of a model's attempts but the checkpoints that it keeps: the last and the best."""
    model = inventories.opened(artifact)
    best = model.details.get("best_step") if model is not None else None
    tried = [one for one in objects.below(artifact.uri) if inventories.is_attempt(one.name)]
    to_keep = checkpoints.to_keep([one.name for one in tried], best)
    return [one for one in tried if one.name not in to_keep]


def _beside(
    beside: Beside, staying: dict[str, StoredArtifact], rules: Rules, now: datetime
) -> Decision:
    size = (beside.bytes, beside.objects)
    still = now - beside.newest
    if beside.kind == "temporary":
        if still > rules.unfinished_after:
            why = f"a temporary file, {age(still)} old"
            return Decision(beside.label, True, why, *size, folder=False)
        return Decision(beside.label, False, f"being written, {age(still)} ago", *size)
    if beside.kind == "results":
        artifact = staying.get(beside.label.rsplit("/", 1)[-1])
        if artifact is not None and artifact.state == "unfinished":
            return Decision(beside.label, False, "its artifact is being made", *size)
        if still > rules.unfinished_after:
            why = "remembered for retries of a run that is over"
            return Decision(beside.label, True, why, *size)
        return Decision(beside.label, False, f"remembered {age(still)} ago", *size)
    why = "a kept download" if beside.kind == "downloads" else "not of this program"
    return Decision(beside.label, False, why, *size)


def _came_alive(artifact: StoredArtifact) -> bool:
    """Whether a folder was written to, or finished, since the inventory."""
    files = list(objects.below(artifact.uri))
    finished = any(one.name == storage.MANIFEST for one in files)
    newest = max((one.modified for one in files), default=artifact.newest)
    return newest > artifact.newest or (finished and artifact.state == "unfinished")


def _remove(root: str, decision: Decision) -> None:
    uri = storage.join(root, decision.label)
    if decision.names:
        objects.remove(uri, decision.names)
    elif decision.folder:
        objects.remove_folder(uri)
    else:
        folder, _, name = decision.label.rpartition("/")
        objects.remove(storage.join(root, folder) if folder else root, [name])
