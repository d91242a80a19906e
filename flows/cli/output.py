"""What a command prints when it is done: a table for people, or one JSON object."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from facenet_core import storage
from facenet_core.text.plural import plural
from flows.cli import terminal
from flows.cli.terminal import echo
from tasks.prefect.summary import PipelineSummary, StageSummary

_FIGURES = ("accuracy", "accuracy_std", "val_rate", "val_rate_std", "far", "auc", "eer")
_FIGURES += ("threshold", "pairs", "pairs_skipped", "comparison")


def as_json(result: StageSummary | PipelineSummary) -> dict[str, Any]:
    """The object that `--json` prints."""
    stage = result.report if isinstance(result, PipelineSummary) else result
    shown: dict[str, Any] = stage.model_dump(
        include={"stage", "uri", "fingerprint", "seconds", "counts"}
    )
    shown |= {name: stage.metrics[name] for name in _FIGURES if name in stage.metrics}
    if isinstance(result, PipelineSummary):
        artifacts = {name: getattr(result, name) for name in PipelineSummary.model_fields}
        shown["stage"] = "run"
        shown["seconds"] = round(sum(part.seconds for part in artifacts.values()), 3)
        shown["counts"] = {name: part.counts for name, part in artifacts.items()}
        shown["artifacts"] = {name: part.uri for name, part in artifacts.items()}
    return shown


def print_table(result: StageSummary | PipelineSummary) -> None:
    """Print the figures; the last line is the URI of the artifact."""
    console = terminal.console(soft_wrap=True)
    if isinstance(result, PipelineSummary):
        console.print(_data_table(result))
        stage = result.report
    else:
        stage = result
        if not stage.metrics:
            console.print(_counts_table(stage))
    if stage.stage == "validate":
        compared = "comparison" in stage.metrics
        console.print(_comparison_table(stage) if compared else _metrics_table(stage))
        echo(f"Report: {storage.join(stage.uri, 'report.html')}")
    echo(stage.uri)


def _data_table(result: PipelineSummary) -> Table:
    table = Table("", "images", "people", "crops", "rejects", "seconds", title="Photographs")
    for name, raw, crops in (
        ("training", result.raw, result.crops),
        ("validation", result.holdout_raw, result.holdout_crops),
    ):
        table.add_row(
            name,
            f"{raw.counts['images']:,}",
            f"{raw.counts['identities']:,}",
            f"{crops.counts['crops']:,}",
            f"{crops.counts['rejects']:,}",
            f"{raw.seconds + crops.seconds:.1f}",
        )
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _counts_table(stage: StageSummary) -> Table:
    table = Table(title=f"{stage.stage}, {stage.seconds:.1f} s", show_header=False)
    for name, count in stage.counts.items():
        table.add_row(name, f"{count:,}")
    table.columns[1].justify = "right"
    return table


def _metrics_table(stage: StageSummary) -> Table:
    m = stage.metrics
    table = Table(title=f"Validation on {plural(m['pairs'], 'pair')}", show_header=False)
    val = f"{m['val_rate']:.4f} ± {m['val_rate_std']:.4f} @ FAR={m['far']:.5f}"
    for label, shown, interval in (
        ("accuracy", f"{m['accuracy']:.4f} ± {m['accuracy_std']:.4f}", m["accuracy_interval"]),
        ("validation rate", val, m["val_rate_interval"]),
        ("area under ROC", f"{m['auc']:.4f}", m["auc_interval"]),
        ("equal error rate", f"{m['eer']:.4f}", m["eer_interval"]),
    ):
        table.add_row(label, shown, "95%: {:.4f} to {:.4f}".format(*interval) if interval else "")
    if found := m.get("identification"):
        ranks = f"{found['rank_1']:.4f}, {found['rank_5']:.4f}"
        table.add_row("rank 1, rank 5", ranks, plural(found["gallery"], "person", "people"))
    if m["pairs_centre_cropped"]:
        table.add_row("by centre crops", plural(m["pairs_centre_cropped"], "pair"))
    if m["pairs_skipped"]:
        table.add_row(
            "pairs skipped",
            f"{m['pairs_skipped']:,}",
            f"accuracy {m['accuracy_all']:.4f} with them",
        )
    return table


def _comparison_table(stage: StageSummary) -> Table:
    m = stage.metrics
    found = m["comparison"]
    pairs = m["pairs"] - m["pairs_skipped"]
    table = Table(
        "", *found["models"], "difference", "95%", "p", title=f"On {plural(pairs, 'pair')}"
    )
    for name, figure in found["figures"].items():
        ends = p_value = "–"
        if figure["p_value"] is not None:
            ends = f"{figure['low']:+.3f} to {figure['high']:+.3f}"
            p_value = f"{figure['p_value']:.3g}"
        values = (f"{figure['first']:.4f}", f"{figure['second']:.4f}")
        table.add_row(name, *values, f"{figure['difference']:+.4f}", ends, p_value)
    only = (f"{found['only_first']:,}", f"{found['only_second']:,}")
    table.add_row("only right", *only, "", "McNemar", f"{found['mcnemar_p']:.3g}")
    for column in table.columns[1:]:
        column.justify = "right"
    return table
