"""What is worth trying again: lost workers and storage, but not a wrong configuration."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE

from facenet_core.errors import FacenetError

# Options of every task that works on one shard: two more tries, after a few and after many seconds.
SHARD_RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [2, 15],
    "retry_jitter_factor": 0.5,  # shards that failed together need not come back together
}


def retry_can_help(task: Any, task_run: Any, state: Any) -> bool:
    """Prefect's `retry_condition_fn`: false for errors that are marked as not retryable."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, FacenetError) or error.retryable


# Options of a task that does the whole work of a stage: one more try. Artifacts remember for it.
WHOLE_STAGE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": 1,
    "retry_delay_seconds": 5,
    "retry_condition_fn": retry_can_help,
}
