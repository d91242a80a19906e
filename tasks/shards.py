"""Waiting for all shards of a stage, whatever becomes of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prefect.futures import PrefectFuture, as_completed

from facenet_core.errors import FacenetError

Result = TypeVar("Result")


class ShardsFailed(FacenetError):
    """Some shards of a stage failed; the others are done and stay done."""


def gather(
    stage: str,
    futures: Sequence[PrefectFuture[Result]],
    finished: Callable[[Result], None],
) -> list[Result]:
    """The results of all shards in order, once every one has ended.

    Args:
        finished: called with each result as it comes, for progress.

    Raises:
        ShardsFailed: naming each shard that did not complete, and why.
    """
    results: dict[int, Result] = {}
    failures: dict[int, str] = {}
    numbers = {future.task_run_id: number for number, future in enumerate(futures)}
    for future in as_completed(list(futures)):
        number = numbers[future.task_run_id]
        result: Any = future.result(raise_on_failure=False)
        if future.state.is_completed():
            results[number] = result
            finished(result)
        else:
            failures[number] = _reason(result, future)
    if failures:
        named = "; ".join(f"shard {number}: {failures[number]}" for number in sorted(failures))
        raise ShardsFailed(
            f"{stage}: {len(failures)} of {len(futures)} shards failed: {named}. The others are "
            "done: retry this run, or run the same command again, and only these are done"
        )
    return [results[number] for number in range(len(futures))]


def _reason(result: Any, future: PrefectFuture[Any]) -> str:
    if isinstance(result, FacenetError):
        return str(result)
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}"
    return future.state.message or str(future.state.type)
