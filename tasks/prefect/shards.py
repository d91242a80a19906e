"""Runs all shards of a stage as tasks, waits for every one, and checks what they wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

from prefect import Task, get_run_logger
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run

from facenet_core import storage
from facenet_core.errors import FacenetError
from facenet_core.storage import Part, Plan
from tasks.prefect.caching import REMEMBERED, result_storage, shard_key
from tasks.prefect.decorators import task
from tasks.prefect.retries import SHARD_RETRIES, retry_can_help

_NAMED = 20  # failed shards that the message of a run spells out
_REASON = 400  # characters of one reason in it; the shard's own state and log have all


class HasParts(Protocol):
    """The result of a shard's task that wrote several files."""

    @property
    def parts(self) -> Sequence[Part]: ...


Result = TypeVar("Result", bound=Part | HasParts)
Parameters = ParamSpec("Parameters")


class ShardsFailed(FacenetError):
    """Some shards of a stage failed; the others are done and stay done."""


def shard_task(
    verb: str,
) -> Callable[[Callable[Parameters, Result]], Task[Parameters, Result]]:
    """The decorator of a task that works on one shard: named, retried and remembered.

    Args:
        verb: of its runs' names, such as `align shard 17/120`.
    """

    def name(parameters: Mapping[str, Any]) -> str:
        return f"{verb} shard {parameters['number'] + 1}/{parameters['count']}"

    return task(
        task_run_name=name,
        cache_key_fn=shard_key,
        retry_condition_fn=retry_can_help,
        **REMEMBERED,
        **SHARD_RETRIES,
    )


def run_shards(
    plan: Plan,
    root: str,
    shard: Task[..., Result],
    shards: Sequence[Mapping[str, Any]],
    finished: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run a task for each shard; returns the results in order, once every shard has ended.

    Args:
        plan: what the stage makes.
        root: storage root, where Prefect remembers the shards.
        shard: the task, with the parameters `plan`, `number` (from 0), `count` and those of its
            shard.
        shards: what else the task is called with, for each shard.
        finished: called with each result as it comes, for progress.

    Raises:
        ShardsFailed: naming each shard that did not complete, and why.
    """
    shard = shard.with_options(result_storage=result_storage(root))

    def submit(numbers: Iterable[int], task: Task[..., Result]) -> dict[int, PrefectFuture[Result]]:
        return {
            n: task.submit(plan=plan, number=n, count=len(shards), **shards[n]) for n in numbers
        }

    futures = submit(range(len(shards)), shard)
    results = _gather(plan.stage, futures, finished)
    cached = [n for n, future in futures.items() if future.state.name == "Cached"]
    lost = _lost(plan, {n: _parts(results[n]) for n in cached})
    if lost:
        get_run_logger().warning(
            "The parts of %d shards were done before and are gone or cut; they are remade: %s",
            len(lost),
            ", ".join(str(number + 1) for number in lost),
        )
        again = submit(lost, shard.with_options(refresh_cache=True))
        results |= _gather(plan.stage, again, lambda result: None)
    return [results[number] for number in range(len(shards))]


def _parts(result: Part | HasParts) -> Sequence[Part]:
    """The files that a shard's task wrote."""
    return [result] if isinstance(result, Part) else result.parts


def _lost(plan: Plan, cached: Mapping[int, Sequence[Part]]) -> list[int]:
    """Numbers of the shards that Prefect remembers and storage does not have."""
    if not cached:
        return []
    numbers = {part.name: number for number, parts in cached.items() for part in parts}
    wrong = storage.wrong_parts(plan.uri, [part for parts in cached.values() for part in parts])
    return sorted({numbers[name] for name in wrong})


def _gather(
    stage: str,
    futures: Mapping[int, PrefectFuture[Result]],
    finished: Callable[[Result], None],
) -> dict[int, Result]:
    """The results by shard number, once every shard has ended."""
    results: dict[int, Result] = {}
    failures: dict[int, str] = {}
    numbers = {future.task_run_id: number for number, future in futures.items()}
    for future in as_completed(list(futures.values())):
        number = numbers[future.task_run_id]
        result: Any = future.result(raise_on_failure=False)
        if future.state.is_completed():
            results[number] = result
            finished(result)
        else:
            failures[number] = _reason(result, future)
    if failures:
        raise ShardsFailed(_message(stage, failures, len(futures)))
    return results


def _message(stage: str, failures: Mapping[int, str], count: int) -> str:
    named = sorted(failures)[:_NAMED]
    # In the UI the lines run together; the dashes still separate them.
    lines = [f"- shard {number + 1}: {failures[number][:_REASON]}" for number in named]
    if len(failures) > _NAMED:
        others = ", ".join(str(number + 1) for number in sorted(failures)[_NAMED:])
        lines.append(f"- and shards {others}")
    return (
        f"{stage}: {len(failures)} of {count} shards failed; the others are done and stay done. "
        f"To do only the failed ones, {_retry_advice()}.\n" + "\n".join(lines)
    )


def _retry_advice() -> str:
    """The command or button that does the failed shards again."""
    root_run = flow_run.root_flow_run_id
    with get_client(sync_client=True) as client:
        if client.read_flow_run(root_run).deployment_id is None:
            return "run the same command again"
    return f"press Retry on the run in the UI, or `prefect flow-run retry {root_run}`"


def _reason(result: Any, future: PrefectFuture[Any]) -> str:
    if isinstance(result, FacenetError):
        return str(result)
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}"
    return future.state.message or str(future.state.type)
