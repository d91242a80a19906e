"""The people who must not be taken in again: `{root}/forgotten.json`.

`facenet storage forget` writes that file. It holds no names, only their salted hashes. Ingest and
align leave out the photographs of these people, and the hashes enter the fingerprints of what they
make.

They enter only where they can matter. Otherwise forgetting one person would give every data set of
the root, and so every model, a new fingerprint. When somebody is forgotten, all raw and crops
artifacts of the root are looked into, and the file notes for each which people enter its
fingerprint; for what is not noted, all do. An artifact is noted by the fingerprint that it would
have if nobody had been forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.storage import Input, Manifest, Plan, parquet

FORGOTTEN = "forgotten.json"
CONFIG_KEY = "forgotten"  # of a plan's configuration
REDACTED = "redacted"  # of a manifest's counts: photographs that were left out or taken out

_FORMAT = 1


@dataclass(frozen=True)
class Forgotten:
    """What `forgotten.json` says.

    Attributes:
        salt: hex; made when the first person of a root is forgotten.
        people: salted hashes of identities, in the order in which they were forgotten.
        entering: for artifacts by the fingerprint they would have if nobody had been forgotten: the
            numbers of the people who enter their fingerprints.
    """

    salt: str = ""
    people: tuple[str, ...] = ()
    entering: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def hash(self, identity: str) -> str:
        """HMAC-SHA256 of the identity in NFC, 32 hex digits."""
        name = unicodedata.normalize("NFC", identity).encode("utf-8", "surrogatepass")
        return hmac.new(bytes.fromhex(self.salt), name, hashlib.sha256).hexdigest()[:32]

    def covers(self, identity: str) -> bool:
        """Whether this person was forgotten."""
        return bool(self.people) and self.hash(identity) in self.people

    def with_person(self, identity: str) -> Forgotten:
        """A copy that also covers this person."""
        salted = self if self.salt else replace(self, salt=secrets.token_hex(16))
        if salted.covers(identity):
            return salted
        return replace(salted, people=(*salted.people, salted.hash(identity)))

    def numbers(self, base: str) -> tuple[int, ...]:
        """Who enters the fingerprint of the artifact that would be `base` with nobody forgotten."""
        return self.entering.get(base, tuple(range(len(self.people))))

    def digest(self, base: str) -> str | None:
        """What enters it; None where nobody does."""
        people = [self.people[number] for number in self.numbers(base)]
        return storage.fingerprint([self.salt, *sorted(people)]) if people else None

    def left_out_of(self, plan: Plan) -> Plan:
        """A plan made as if nobody had been forgotten, with those who matter to it left out."""
        digest = self.digest(plan.fingerprint)
        if digest is None:
            return plan
        config = {**plan.config, CONFIG_KEY: digest}
        made = (plan.stage, plan.name, config, plan.inputs, plan.stage_format)
        return storage.plan_stage(plan.root, *made)


def read(root: str) -> Forgotten:
    """Who was forgotten in a storage root.

    Raises:
        ArtifactError: the file is there and cannot be understood. Going on would bring people back.
    """
    uri = storage.join(root, FORGOTTEN)
    try:
        content = json.loads(storage.read_bytes(uri))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        people = tuple(str(person) for person in content["people"])
        entering = {str(k): tuple(map(int, v)) for k, v in content["entering"].items()}
        if any(not 0 <= n < len(people) for numbers in entering.values() for n in numbers):
            raise ValueError("numbers of people that it does not list")
        bytes.fromhex(content["salt"])
        return Forgotten(content["salt"], people, entering)
    except FileNotFoundError:
        return Forgotten()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"{uri}: cannot be understood ({error!r}); it says who must not be taken in again, "
            "so restore it from a backup before anything else"
        ) from None


def write(root: str, forgotten: Forgotten) -> None:
    """Replace `forgotten.json`, whole or not at all."""
    content = {
        "format": _FORMAT,
        "salt": forgotten.salt,
        "people": forgotten.people,
        "entering": {key: forgotten.entering[key] for key in sorted(forgotten.entering)},
    }
    storage.write_bytes(storage.join(root, FORGOTTEN), (json.dumps(content) + "\n").encode())


def plan_stage(
    root: str,
    stage: str,
    name: str,
    config: Mapping[str, Any],
    inputs: Sequence[Input],
    stage_format: int,
) -> Plan:
    """`storage.plan_stage` of a stage that takes photographs of people: without those forgotten.

    Raises:
        ArtifactError: see `read`.
    """
    plan = storage.plan_stage(root, stage, name, config, inputs, stage_format)
    return read(root).left_out_of(plan)


def of_plan(plan: Plan) -> Forgotten:
    """Who is left out of what this plan makes.

    Raises:
        ArtifactError: somebody was forgotten since the plan was made; a new plan knows.
    """
    forgotten = read(plan.root)
    if forgotten.digest(base_fingerprint(plan)) != plan.config.get(CONFIG_KEY):
        raise ArtifactError(
            f"{plan.uri}: somebody was forgotten in {plan.root} since this {plan.stage} began, and "
            "may be among its photographs; run it again"
        )
    return forgotten


def count_left_out(plan: Plan, part_uri: str) -> int:
    """How many rows of a part that this plan reads are of people who were forgotten."""
    if CONFIG_KEY not in plan.config:
        return 0
    left_out = of_plan(plan).covers
    identities = parquet.read_table(part_uri, ["identity"])["identity"]
    counted = identities.value_counts().to_pylist()
    return sum(entry["counts"] for entry in counted if left_out(entry["values"]))


def base_fingerprint(made: Plan | Manifest) -> str:
    """The fingerprint that it would have if nobody had been forgotten."""
    if not made.stage_format:
        return made.fingerprint
    config = {key: value for key, value in made.config.items() if key != CONFIG_KEY}
    return storage.plan_stage(
        "", made.stage, made.name, config, made.inputs, made.stage_format
    ).fingerprint
