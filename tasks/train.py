"""The task of the train stage."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from facenet_core.config import TrainConfig
from facenet_core.storage import Plan
from facenet_core.training import loop as core
from tasks.progress import progress
from tasks.retrying import retry_can_help


@task(
    task_run_name="train {plan.name}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=30,
    retry_condition_fn=retry_can_help,
)
def train_model(plan: Plan, config: TrainConfig, run_id: str) -> core.Trained:
    """Train in this process, from the newest checkpoint if there is one."""
    with progress("train", None, unit="steps") as report:

        def advance(step: core.Step) -> None:
            report(step.step, step.steps, describe(step))

        return core.train(plan, config, run_id=run_id, progress=advance)


def describe(step: core.Step) -> str:
    """One line of figures behind the progress bar."""
    figures = [f"epoch {step.epoch}/{step.epochs}"]
    if step.loss is not None:
        figures.append(f"loss {step.loss:.2f}")
    if step.accuracy is not None:
        figures.append(f"accuracy {step.accuracy:.2f}")
    if step.images_per_second is not None:
        figures.insert(1, f"{step.images_per_second:.0f} images/s")
    return ", ".join(figures)
