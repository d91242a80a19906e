"""The task of the train stage."""

from __future__ import annotations

from prefect.cache_policies import NO_CACHE

from facenet_core import storage
from facenet_core.config import ClusterConfig, TrainConfig
from facenet_core.storage import Outcome, Plan, parquet
from facenet_core.training import stage as core
from facenet_core.training.history import HISTORY_FILE
from tasks.dask.cluster import dask_cluster
from tasks.dask.ranks import train_on_ranks
from tasks.prefect.artifacts import show_png
from tasks.prefect.decorators import task
from tasks.prefect.progress import progress
from tasks.prefect.retries import retry_can_help

IN_PROCESS = ClusterConfig()


@task(
    task_run_name="train {plan.name}",
    tags=["training"],  # of which a site may allow one at a time
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=30,
    retry_condition_fn=retry_can_help,
)
def train_model(
    plan: Plan, config: TrainConfig, run_id: str, where: ClusterConfig = IN_PROCESS
) -> Outcome:
    """Train in this process or on Dask workers, from the newest checkpoint if there is one."""
    with progress("train", None, unit="steps") as report:

        def advance(step: core.Step) -> None:
            report(step.step, step.steps, describe(step))

        if where.train_workers is None:
            return core.train(plan, config, run_id=run_id, progress=advance)
        with dask_cluster(where.for_training()) as cluster:
            return train_on_ranks(cluster, where.train_workers, plan, config, run_id, advance)


def show_curves(plan: Plan) -> None:
    """Loss and accuracy over the epochs, as pictures."""
    from facenet_core.evaluation.report import plots

    uri = storage.join(plan.uri, HISTORY_FILE)
    history = parquet.read_table(uri).to_pydict()
    curves = {
        "Loss": plots.TRAINING_CURVES["Loss"],
        "Accuracy": {**plots.TRAINING_CURVES["Accuracy"], "lfw_accuracy": "pairs of other people"},
    }
    for title, plot in plots.training_plots(history, curves):
        title = f"train {plan.name} {title.lower()}"
        show_png(plots.to_png(plot.figure), title, f"All metrics by epoch: `{uri}`")


def describe(step: core.Step) -> str:
    """The metrics of a step as one line, behind the progress bar."""
    metrics = [f"epoch {step.epoch}/{step.epochs}"]
    if step.loss is not None:
        metrics.append(f"loss {step.loss:.2f}")
    if step.accuracy is not None:
        metrics.append(f"accuracy {step.accuracy:.2f}")
    if step.lfw_accuracy is not None:
        metrics.append(f"on pairs {step.lfw_accuracy:.3f}")
    if step.images_per_second is not None:
        metrics.insert(1, f"{step.images_per_second:.0f} images/s")
    return ", ".join(metrics)
