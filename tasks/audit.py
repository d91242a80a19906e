"""The task of the audit stage, and what the Prefect UI shows of its outcome."""

from __future__ import annotations

from facenet_core.audit import stage as core
from facenet_core.config import AuditConfig
from facenet_core.storage import Outcome, Plan, join, parquet
from tasks.prefect.artifacts import show_table
from tasks.prefect.decorators import task
from tasks.prefect.progress import progress
from tasks.prefect.retries import WHOLE_STAGE

_SHOWN = 50
_COLUMNS = ("kind", "image_id", "identity", "other_image_id", "reason")


@task(task_run_name="audit {plan.name}", **WHOLE_STAGE)
def audit_faces(plan: Plan, config: AuditConfig) -> Outcome:
    """Look for all that is wrong with the faces, and write findings and report."""
    with progress("audit", None) as report:
        return core.audit(plan, config, progress=report)


def show_findings(plan: Plan) -> None:
    """The worst findings as a table."""
    table = parquet.read_table(join(plan.uri, core.FINDINGS), [*_COLUMNS, "severity"])
    worst = table.sort_by([("severity", "descending")]).slice(0, _SHOWN).select(_COLUMNS)
    rows = [{name: value or "" for name, value in row.items()} for row in worst.to_pylist()]
    show_table(rows, f"audit {plan.name} findings")
