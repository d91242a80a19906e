"""Taking a person out of a storage root, for good.

plan = plan_forgetting(root, "Ann_Lee")       # looks, writes nothing
carry_out(plan)

First `forgotten.json` is written, so that nothing takes the person in from now on. Then the raw,
crops and embeddings artifacts that hold the person are written again under the fingerprints that
the same configurations have now; last of all the old ones go. Whatever interrupts it, the same
command goes on from there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from facenet_core import storage
from facenet_core.errors import ArtifactError, ConfigError, StorageError
from facenet_core.housekeeping import inventory, objects
from facenet_core.housekeeping.inventory import StoredArtifact
from facenet_core.privacy import deny_list, find_person, redact
from facenet_core.privacy.deny_list import CONFIG_KEY, Forgotten
from facenet_core.privacy.find_person import Affected
from facenet_core.storage import Artifact, Input, Plan


@dataclass(frozen=True)
class Rewrite:
    """An artifact that is made again without the person.

    Attributes:
        stored, artifact: the old one, as the inventory lists it and as its manifest says.
        plan: of the new one.
        rows: of its tables that are of the person; 0 where only its input changes.
    """

    stored: StoredArtifact
    artifact: Artifact
    plan: Plan
    rows: int


@dataclass(frozen=True)
class Forgetting:
    """What forgetting a person comes to.

    Attributes:
        forgotten: what `forgotten.json` will say.
        known: whether the person was forgotten before.
        similar: identities of almost the same name.
        rewrites: raw artifacts before crops, crops before embeddings.
        removed: raw, crops and embeddings folders that cannot be written again, and why they go.
        downloads: kept downloads that hold the person.
        results: folders of what Prefect remembers of the shards of these artifacts.
        caches: files of this machine's cache folder.
        affected: models, reports and audits.
        sources: where the photographs came from; these are not the root's to change.
    """

    root: str
    identity: str
    forgotten: Forgotten
    known: bool
    similar: tuple[str, ...]
    rewrites: tuple[Rewrite, ...]
    removed: tuple[tuple[StoredArtifact, str], ...]
    downloads: tuple[str, ...]
    results: tuple[str, ...]
    caches: tuple[Path, ...]
    affected: tuple[Affected, ...]
    sources: tuple[str, ...]

    @property
    def nowhere(self) -> bool:
        """Whether the root holds nothing of the person."""
        return not (self.rewrites or self.removed or self.affected)


def plan_forgetting(root: str, identity: str) -> Forgetting:
    """Find a person, by the exact name of the identity, in everything below a root.

    Raises:
        ConfigError: an empty name.
        ArtifactError: there is nothing at all, or `forgotten.json` is damaged.
    """
    if not identity.strip():
        raise ConfigError("--identity: expected the name of a person, as in the shards")
    identity = unicodedata.normalize("NFC", identity)
    stock = inventory.take(root)
    before = deny_list.read(stock.root)
    after = before.with_person(identity)
    search = _Search(stock.root, identity, before, after)
    for stage in ("ingest", "align", "embed"):
        for artifact in stock.artifacts:
            if artifact.stage == stage:
                search.look_into(artifact)
    complete = replace(after, entering=search.entering)
    rewrites = tuple(search.rewrites(complete))
    made_again = [rewrite.artifact for rewrite in rewrites]
    old = {artifact.fingerprint for artifact in made_again}
    shards = f"{inventory.RESULTS}/shards"
    folders = {f"{shards}/{artifact.stage}/{artifact.fingerprint}" for artifact in made_again}
    raws = [artifact for artifact in made_again if artifact.stage == "ingest"]
    gone = old | {artifact.fingerprint for artifact, _ in search.removed}
    affected = find_person.affected(stock, identity, gone)
    touched = bool(rewrites or search.removed or affected)
    return Forgetting(
        stock.root,
        identity,
        complete,
        before.covers(identity),
        tuple(sorted(search.similar)),
        rewrites,
        tuple(search.removed),
        tuple(find_person.kept_downloads(stock.root, raws)),
        tuple(one.label for one in stock.beside if one.label in folders),
        tuple(find_person.cached()) if touched or before.covers(identity) else (),
        tuple(affected),
        tuple(dict.fromkeys(raw.inputs[0].uri for raw in raws if raw.inputs)),
    )


def carry_out(
    plan: Forgetting,
    delete_affected: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Do it.

    Args:
        delete_affected: remove the affected models, reports and audits, too, but no model in use.
        progress: told of each step.

    Returns:
        URIs of what was written.

    Raises:
        StorageError: something cannot be written or removed, or another forgetting ran beside.
        ArtifactError: a part was damaged meanwhile.
    """
    deny_list.write(plan.root, plan.forgotten)
    started = datetime.now(UTC).isoformat()
    # Before anything is written: an unfinished one may be what an interrupted forgetting left.
    for artifact, _ in plan.removed:
        progress(f"removing {artifact.label}")
        objects.remove_folder(artifact.uri)
    for rewrite in plan.rewrites:
        progress(f"writing {rewrite.stored.label} again as {rewrite.plan.fingerprint}")
        run = {"redacted": True, "started": started}
        redact.redact(rewrite.artifact, rewrite.plan, plan.forgotten.covers, run)
    for rewrite in reversed(plan.rewrites):  # crops before what they were made from
        progress(f"removing {rewrite.stored.label}")
        objects.remove_folder(rewrite.stored.uri)
    for label in plan.results:
        objects.remove_folder(storage.join(plan.root, label))
    for uri in plan.downloads:
        storage.remove(uri)
    for file in plan.caches:
        file.unlink(missing_ok=True)
    find_person.forget_paths(plan.identity)
    storage.sweep_temporary_folders()
    if delete_affected:
        for affected in reversed(plan.affected):
            if not affected.artifact.promoted:
                progress(f"removing {affected.artifact.label}")
                objects.remove_folder(affected.artifact.uri)
    if not deny_list.read(plan.root).covers(plan.identity):
        raise StorageError(
            f"{plan.root}: another forgetting ran at the same time and its {deny_list.FORGOTTEN} "
            "does not name this person; run the same command again"
        )
    return [rewrite.plan.uri for rewrite in plan.rewrites]


class _Search:
    """Goes through raw, crops and embeddings artifacts; notes what enters their fingerprints."""

    def __init__(self, root: str, identity: str, before: Forgotten, after: Forgotten) -> None:
        self.entering = dict(before.entering)
        self.similar: set[str] = set()
        self.removed: list[tuple[StoredArtifact, str]] = []
        self._root = root
        self._identity = identity
        self._before = before
        self._number = after.people.index(after.hash(identity))
        self._holding: list[tuple[StoredArtifact, Artifact, int]] = []
        self._renamed: set[str] = set()  # fingerprints of raw artifacts that get another

    def look_into(self, stored: StoredArtifact) -> None:
        if stored.state == "unfinished":
            if find_person.in_unfinished(stored, self._identity):
                why = "unfinished, and holds the person or parts that are being written"
                self.removed.append((stored, why))
            return
        artifact = inventory.opened(stored)
        try:
            if artifact is None or stored.state == "damaged":
                raise ArtifactError(stored.why)
            person_rows = find_person.in_tables(artifact, self._identity)
        except ArtifactError as error:
            self.removed.append((stored, f"damaged, may hold the person ({error})"))
            return
        self.similar |= person_rows.similar
        base = deny_list.base_fingerprint(artifact.manifest)
        renamed = any(source.fingerprint in self._renamed for source in artifact.inputs)
        if not person_rows.rows and not renamed:
            # It keeps its fingerprint, and everything made from it.
            self.entering.setdefault(base, self._before.numbers(base))
        elif not artifact.manifest.stage_format:
            why = "holds the person, and was made by a version that is not known here"
            self.removed.append((stored, why))
        else:
            self._holding.append((stored, artifact, person_rows.rows))
            self._renamed.add(artifact.fingerprint)
            if artifact.stage == "ingest":
                self._enter(base, self._before.numbers(base))

    def rewrites(self, after: Forgotten) -> list[Rewrite]:
        """The artifacts to write again, with their plans; those but of raw complete `entering`."""
        made: dict[str, Plan] = {}
        rewrites = []
        for stored, artifact, rows in self._holding:
            config = {key: v for key, v in artifact.config.items() if key != CONFIG_KEY}
            inputs = [
                Input(made[i.fingerprint].uri, made[i.fingerprint].fingerprint)
                if i.fingerprint in made
                else i
                for i in artifact.inputs
            ]
            stage_format = artifact.manifest.stage_format
            plan = storage.plan_stage(
                self._root, artifact.stage, artifact.name, config, inputs, stage_format
            )
            if artifact.stage != "ingest":
                own = deny_list.base_fingerprint(artifact.manifest)
                self._enter(plan.fingerprint, self._before.numbers(own))
            plan = replace(after, entering=self.entering).left_out_of(plan)
            if plan.fingerprint == artifact.fingerprint:
                why = "holds a person who was forgotten before it was made"
                self.removed.append((stored, why))
                continue
            made[artifact.fingerprint] = plan
            rewrites.append(Rewrite(stored, artifact, plan, rows))
        return rewrites

    def _enter(self, base: str, numbers: tuple[int, ...]) -> None:
        together: Mapping[str, tuple[int, ...]] = self.entering
        every = {*numbers, *together.get(base, ()), self._number}
        self.entering[base] = tuple(sorted(every))
