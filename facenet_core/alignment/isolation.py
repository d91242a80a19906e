"""Finding the images that crash or hang the process that works on them.

A process that hangs is ended by its watchdog (`facenet_core/runtime.py:Watchdog`).

A child process goes through a shard and prints the id of each image before it touches it. When the
child dies, the last image printed is a suspect; when the next child dies at the same image, that
image is recorded, and another child continues after it. All images are decoded first, because
nearly every crash happens in a decoder, and the detector takes seconds to load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from facenet_core import runtime
from facenet_core.alignment import faces
from facenet_core.config import AlignConfig
from facenet_core.errors import FacenetError
from facenet_core.imaging.decode import UndecodableImage
from facenet_core.runtime import HUNG, Watchdog
from facenet_core.storage import parquet

Step = Literal["decode", "align"]
_FAILED = 3  # exit status of a child that met a Python error


class IsolationFailed(FacenetError):
    """The child that looks for images that crash could not do its work."""

    retryable = True


@dataclass(frozen=True)
class _Death:
    """Of a child: the row that it touched last, and how it ended."""

    row: int
    image_id: str
    detail: str


def find_crashing(raw_part: str, config: AlignConfig) -> dict[str, str]:
    """The images of a raw shard that kill or hang a process: image_id → what happened.

    Each image is worked on alone and the result thrown away, so that what is made of the others
    cannot depend on how the culprits were found.

    Raises:
        IsolationFailed: a child died before it touched an image, or met a Python error.
    """
    crashed: dict[str, str] = {}
    steps: tuple[Step, Step] = ("decode", "align")
    for step in steps:
        start, suspect = 0, None
        while (death := _run_child(raw_part, step, start, crashed, config)) is not None:
            start = death.row
            if death.row == suspect:
                crashed[death.image_id] = death.detail
                start += 1
            suspect = death.row
    return crashed


def _run_child(
    raw_part: str, step: Step, start: int, skip: Collection[str], config: AlignConfig
) -> _Death | None:
    """Run a child on the rows from `start` on; None if it reaches the end."""
    child = subprocess.run(
        runtime.child_command(__name__, raw_part, step, str(start), config.model_dump_json()),
        input=json.dumps(list(skip)),
        capture_output=True,
        text=True,
        check=False,
        env=runtime.child_environment(),
    )
    if child.returncode == 0:
        return None
    touched = child.stdout.splitlines()
    if child.returncode == _FAILED or not touched:
        reason = child.stderr.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise IsolationFailed(
            f"{raw_part}: the process that looks for images that crash failed: {reason[0]}"
        )
    row, image_id = json.loads(touched[-1])
    return _Death(row, image_id, _fate(child.returncode))


def _fate(status: int) -> str:
    if status == HUNG:
        return "hung the process that worked on it"
    return f"killed the process that worked on it: {runtime.describe_exit(status)}"


def _child(raw_part: str, step: str, start: int, config: AlignConfig, skip: set[str]) -> None:
    if step == "align":
        faces.load_detector(config)
    with Watchdog(config.progress_timeout) as watchdog:
        row_number = -1
        for group in parquet.read_row_groups(raw_part, ["image_id", "identity", "image"]):
            for row in group.to_pylist():
                row_number += 1
                if row_number < start or row["image_id"] in skip:
                    continue
                print(json.dumps([row_number, row["image_id"]]), flush=True)
                watchdog.progress()
                if step == "align":
                    list(faces.align([row], config, watchdog.progress))
                    continue
                try:
                    faces.decode_configured(row["image"]["bytes"], config)
                except UndecodableImage:
                    pass


def _main() -> int:
    raw_part, step, start, config = sys.argv[1:]
    skip = set(json.load(sys.stdin))
    try:
        _child(raw_part, step, int(start), AlignConfig.model_validate_json(config), skip)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return _FAILED
    return 0


if __name__ == "__main__":
    # Exit without cleanup: a runtime that crashes at shutdown is not the fault of an image.
    os._exit(_main())
