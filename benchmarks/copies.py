"""More crops than are at hand: an artifact with those of another several times over."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain, cycle

from facenet_core import storage
from facenet_core.storage import parquet, schemas

PARTS = 40


def write_copies(crops_uri: str, copies: int, root: str) -> str:
    """URI of an artifact with the crops of another, several times over, in 40 parts."""
    crops = storage.open_artifact(crops_uri, "align")
    plan = storage.plan_stage(
        root, "align", "copies", dict(crops.config), [crops.as_input()], copies
    )
    names = [f"crops/{parquet.part_name(number)}" for number in range(PARTS)]
    sources = crops.part_uris("crops")
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                parquet.PartWriter(storage.join(plan.uri, name), schemas.CROPS, plan.fingerprint)
            )
            for name in names
        ]
        in_turn = cycle(writers)
        for copy in range(copies):
            for group in chain.from_iterable(map(parquet.read_row_groups, sources)):
                writer = next(in_turn)
                for row in group.to_pylist():
                    ids = {name: f"{copy}/{row[name]}" for name in ("image_id", "identity")}
                    writer.write(row | ids)
    parts = [parquet.describe_part(plan.uri, name) for name in names]
    crops = sum(part.rows for part in parts)
    counts = {"images": crops, "aligned": crops, "crops": crops, "rejects": 0}
    storage.publish(plan, storage.Outcome(parts, counts), {})
    return plan.uri
