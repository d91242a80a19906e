"""Tasks of the align stage."""

from __future__ import annotations

from functools import partial

from prefect import get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from facenet_core import storage
from facenet_core.alignment import samples
from facenet_core.alignment import stage as core
from facenet_core.config import AlignConfig
from facenet_core.storage import Plan
from tasks.dask.cluster import DaskCluster, WorkerLost
from tasks.prefect.artifacts import show_picture, show_table
from tasks.prefect.decorators import task
from tasks.prefect.progress import progress
from tasks.prefect.shards import shard_task
from tasks.prefect.summary import StageSummary


@shard_task("align")
def align_shard(
    plan: Plan, raw_part: str, number: int, count: int, config: AlignConfig, workers: DaskCluster
) -> core.ShardSummary:
    """Detect and crop the faces of one raw shard on a Dask worker.

    When the worker dies even at the last try, the images that kill it become rejects.
    """
    align = partial(workers.call, core.align_shard, plan, raw_part, number, config)
    try:
        summary = align(supervised=True)
    except WorkerLost:
        if not _last_try():
            raise
        get_run_logger().warning(
            "Looking for the images that kill or hang the process; they become rejects"
        )
        summary = align(supervised=True, isolate=True)
    rejects = ", ".join(f"{count} {reason}" for reason, count in summary.rejected.items())
    numbers = (summary.images, summary.faces, rejects or "none")
    get_run_logger().info("%s: %d images, %d faces, rejects: %s", raw_part, *numbers)
    return summary


@task(task_run_name="export crops to {folder}", cache_policy=NO_CACHE)
def export_crops(crops: str, folder: str) -> str:
    """Write a crops artifact as a folder of images; returns the file with the bounding boxes."""
    from facenet_core.alignment.export import export

    total = storage.open_artifact(crops, "align").counts["images"]
    with progress("export", total) as report:
        return str(export(crops, storage.local_folder(folder), report))


def show_outcome(summary: StageSummary, name: str) -> None:
    """What became of the photographs, as a table; samples of crops and rejects, as pictures."""
    images = summary.counts["images"] or 1  # none where all were of people who were forgotten
    outcomes = {"aligned": summary.counts["aligned"]} | {
        key.removeprefix("rejects."): count
        for key, count in summary.counts.items()
        if key.startswith("rejects.")
    }
    rows = [
        {"outcome": outcome, "photographs": f"{count:,}", "share": f"{count / images:.2%}"}
        for outcome, count in outcomes.items()
    ]
    show_table(rows, f"align {name} outcome")
    for sheet in (samples.CROPS_SHEET, samples.REJECTS_SHEET):
        uri = storage.join(summary.uri, sheet)
        if storage.exists(uri):
            show_picture(uri, f"align {name} {sheet.removesuffix('.png')}")


def _last_try() -> bool:
    """Whether Prefect will not try the current task again by itself."""
    context = TaskRunContext.get()
    return context is None or context.task_run.run_count > context.task.retries
