"""Which artifacts of a root were made from which others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from facenet_core.housekeeping.inventory import Inventory, StoredArtifact
from facenet_core.storage import Input


@dataclass(frozen=True)
class Leaf:
    """A line of the tree: an artifact, and how deep it stands."""

    depth: int
    artifact: StoredArtifact


class Lineage:
    """Looks up what artifacts were made from, and what was made from them.

    An input is found by where it lies, or, in a root that was moved or copied, by its fingerprint.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._by_uri = {artifact.uri: artifact for artifact in inventory.artifacts}
        self._by_fingerprint: dict[str, list[StoredArtifact]] = defaultdict(list)
        for artifact in inventory.artifacts:
            self._by_fingerprint[artifact.fingerprint].append(artifact)
        self._made_from = {a.uri: tuple(self._inputs(a)) for a in inventory.artifacts}
        self._users: dict[str, list[StoredArtifact]] = defaultdict(list)
        for artifact in inventory.artifacts:
            for source in self._made_from[artifact.uri]:
                self._users[source.uri].append(artifact)

    def made_from(self, artifact: StoredArtifact) -> tuple[StoredArtifact, ...]:
        """The artifacts of this root among its inputs."""
        return self._made_from[artifact.uri]

    def users(self, artifact: StoredArtifact) -> list[StoredArtifact]:
        """What was made from it."""
        return self._users.get(artifact.uri, [])

    def ancestors(
        self, artifacts: Iterable[StoredArtifact]
    ) -> Mapping[StoredArtifact, StoredArtifact]:
        """All that these were made from, directly or not; the values say for which of them."""
        ancestors: dict[str, tuple[StoredArtifact, StoredArtifact]] = {}
        for first in artifacts:
            waiting = [first]
            while waiting:
                for parent in self.made_from(waiting.pop()):
                    if parent.uri not in ancestors:
                        ancestors[parent.uri] = (parent, first)
                        waiting.append(parent)
        return dict(ancestors.values())

    def tree(self, artifacts: Collection[StoredArtifact]) -> list[Leaf]:
        """All artifacts, each below the last of its inputs: crops below raw, reports below models.

        What is made from itself, as only a manifest that was edited can say, is left out.
        """
        lines: list[Leaf] = []
        below: dict[str | None, list[StoredArtifact]] = defaultdict(list)
        for artifact in artifacts:
            parents = self.made_from(artifact)
            below[parents[-1].uri if parents else None].append(artifact)

        def add(parent: str | None, depth: int) -> None:
            for artifact in below[parent]:
                lines.append(Leaf(depth, artifact))
                add(artifact.uri, depth + 1)

        add(None, 0)
        return lines

    def _inputs(self, artifact: StoredArtifact) -> Iterable[StoredArtifact]:
        for source in artifact.inputs:
            match = self._find(source)
            if match is not None and match.uri != artifact.uri:
                yield match

    def _find(self, source: Input) -> StoredArtifact | None:
        at_uri = self._by_uri.get(source.uri)
        if at_uri is not None and at_uri.fingerprint == source.fingerprint:
            return at_uri
        same = self._by_fingerprint.get(source.fingerprint, [])
        return same[0] if same else None
