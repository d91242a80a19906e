"""What Prefect remembers of finished shards, and where.

Storage is the truth: a shard whose parts are there is done, whatever Prefect remembers. What it
remembers only saves looking: a run that is retried shows the shards of the first try as `Cached`
and hands Dask nothing but the failed ones. It lies in the storage root, so a worker on any machine
that reaches the photographs reaches it too.

Stages are not remembered: a stage that is called again finds its manifest, which takes a second.
Prefect tells the subflows of a retried run apart by the order of their calls alone, and would
answer one with the result of another as soon as that order changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.context import TaskRunContext
from prefect.filesystems import RemoteFileSystem

from facenet_core import storage

FOLDER = ".prefect"

# Options of every task whose results are remembered: JSON, because a pickle read from a bucket
# that others write to could run anything.
REMEMBERED: dict[str, Any] = {"persist_result": True, "result_serializer": "json"}


def result_storage(root: str) -> Path | RemoteFileSystem:
    """Where Prefect keeps results: below the storage root.

    A local folder needs no more than its path. Of anything else a block document is saved on the
    Prefect server, without credentials: these come from the environment, as for all of storage.
    """
    folder = storage.join(storage.absolute(root), FOLDER)
    if storage.is_local(folder):
        return Path(folder)
    # Else it would wait a minute for a silent server, where storage asks again after half of that.
    block = RemoteFileSystem(basepath=folder, settings=storage.client_options(root))
    block.save(f"facenet-{hashlib.sha256(root.encode()).hexdigest()[:16]}", overwrite=True)
    return block


def shard_key(context: TaskRunContext, parameters: Mapping[str, Any]) -> str:
    """Prefect's `cache_key_fn`: what the stage makes, and which shard of it; nothing else."""
    plan, number = parameters["plan"], parameters["number"]
    return f"shards/{plan.stage}/{plan.fingerprint}/{number:05d}"
