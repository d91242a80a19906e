"""What commands write to a terminal, all of it: lines, tables, errors, JSON, progress bars."""

from __future__ import annotations

import difflib
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from facenet_core import storage
from facenet_core.errors import ConfigError, FacenetError
from facenet_core.privacy.url_secrets import in_depth, scrub
from facenet_core.text.plural import plural
from facenet_core.text.printable import printable, shortened

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

    from tasks.prefect.progress import Report
    from tasks.prefect.summary import PipelineSummary, StageSummary

Entry = TypeVar("Entry", bound="BaseModel")

_LONGEST_LINE = 4_000  # characters
_LONGEST = 200_000
_METRICS = (
    *("accuracy", "accuracy_std", "val_rate", "val_rate_std", "far", "auc", "eer", "threshold"),
    *("pairs", "pairs_skipped", "comparison"),
)


def fit(text: str) -> str:
    """A text without secrets and control characters, and no longer than people read."""
    lines = scrub(shortened(text, 4 * _LONGEST)).split("\n")
    whole = "\n".join(shortened(printable(line), _LONGEST_LINE) for line in lines)
    return shortened(whole, _LONGEST)


def echo(text: object = "") -> None:
    """Print to stdout."""
    print(fit(str(text)))


def echo_error(text: object) -> None:
    """Print to stderr."""
    print(fit(str(text)), file=sys.stderr)


def echo_json(value: Any) -> None:
    """Print one JSON object; JSON escapes control characters by itself."""
    value = in_depth(lambda text: scrub(text) if "://" in text else text, value)
    print(json.dumps(value, default=str))


def print_catalogue(
    entries: Mapping[str, Entry],
    name: str | None,
    as_json: bool,
    print_one: Callable[[str, Entry], None],
    print_all: Callable[[Mapping[str, Entry]], None],
) -> None:
    """Print all entries of a catalogue, or all that is known of the one of this name.

    Raises:
        ConfigError: there is none.
    """
    if name is not None:
        if name not in entries:
            near = difflib.get_close_matches(name, entries, n=3, cutoff=0.5) or entries
            raise ConfigError(f"{name}: not in the catalogue; known: {', '.join(near)}")
        entries = {name: entries[name]}
    if as_json:
        echo_json({name: entry.model_dump(mode="json") for name, entry in entries.items()})
    elif name is not None:
        print_one(name, entries[name])
    else:
        print_all(entries)


def console(**options: Any) -> Console:
    """A rich console for tables, on stdout; `options` are those of `rich.console.Console`."""
    from rich.console import Console
    from rich.text import Text

    class Fit(Console):
        def render_str(self, text: str, **kwargs: Any) -> Text:
            return super().render_str(fit(text), **kwargs)

    options.setdefault("file", sys.stdout)
    return Fit(**options)


def print_error(error: Exception, debug: bool) -> None:
    """Print the message of an error, with `debug` after its traceback."""
    if debug:
        echo_error("".join(traceback.format_exception(error)))
    name = "" if isinstance(error, FacenetError) else f"{type(error).__name__}: "
    echo_error(f"facenet: {name}{error}")
    if not isinstance(error, FacenetError) and not debug:
        echo_error("facenet: run it with --debug for the traceback")


def show_warnings() -> logging.Handler:
    """Let the library's warnings reach the terminal; returns the handler, to be removed again."""

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return fit(f"facenet: {super().format(record)}")

    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(Formatter())
    logging.getLogger("facenet_core").addHandler(handler)
    return handler


def human(size: int) -> str:
    """Bytes in the largest decimal unit that leaves at least 1: `1.4 GB`."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def print_columns(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """Print aligned columns, never wrapped: a line is an item also in a pipe."""
    lines = ([heads] if any(heads) else []) + list(rows)
    widths = [max((len(line[n]) for line in lines), default=0) for n in range(len(heads))]
    for line in lines:
        cells = [
            text.rjust(width) if n in right else text.ljust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        echo("  ".join(cells).rstrip())


@contextmanager
def progress_bar(title: str, total: int | None, unit: str = "images") -> Iterator[Report]:
    """A bar on a terminal, as those of the stages; nothing in a pipe."""
    from tasks.prefect.progress import bar

    with bar(title, total, unit) as report:
        yield report


def print_summary(result: StageSummary | PipelineSummary, as_json: bool) -> None:
    """Print what a stage or the pipeline made; the last line of text is the artifact's URI."""
    from tasks.prefect.summary import PipelineSummary

    if as_json:
        echo_json(_summary_json(result))
        return
    tables = console(soft_wrap=True)
    if isinstance(result, PipelineSummary):
        tables.print(_data_table(result))
        stage = result.report
    else:
        stage = result
        if not stage.metrics:
            tables.print(_counts_table(stage))
    if stage.stage == "validate":
        compared = "comparison" in stage.metrics
        tables.print(_comparison_table(stage) if compared else _metrics_table(stage))
        echo(f"Report: {storage.join(stage.uri, 'report.html')}")
    echo(stage.uri)


def _summary_json(result: StageSummary | PipelineSummary) -> dict[str, Any]:
    from tasks.prefect.summary import PipelineSummary

    stage = result.report if isinstance(result, PipelineSummary) else result
    fields = {"stage", "uri", "fingerprint", "seconds", "counts"}
    values: dict[str, Any] = stage.model_dump(include=fields)
    values |= {name: stage.metrics[name] for name in _METRICS if name in stage.metrics}
    if isinstance(result, PipelineSummary):
        artifacts = {name: value for name, value in result if value is not None}
        values["stage"] = "run"
        values["seconds"] = round(sum(part.seconds for part in artifacts.values()), 3)
        values["counts"] = {name: part.counts for name, part in artifacts.items()}
        values["artifacts"] = {name: part.uri for name, part in artifacts.items()}
    return values


def _data_table(result: PipelineSummary) -> Table:
    from rich.table import Table

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
    from rich.table import Table

    table = Table(title=f"{stage.stage}, {stage.seconds:.1f} s", show_header=False)
    for name, count in stage.counts.items():
        table.add_row(name, f"{count:,}")
    table.columns[1].justify = "right"
    return table


def _metrics_table(stage: StageSummary) -> Table:
    from rich.table import Table

    m = stage.metrics
    table = Table(title=f"Validation on {plural(m['pairs'], 'pair')}", show_header=False)
    val = f"{m['val_rate']:.4f} ± {m['val_rate_std']:.4f} @ FAR={m['far']:.5f}"
    for label, value, interval in (
        ("accuracy", f"{m['accuracy']:.4f} ± {m['accuracy_std']:.4f}", m["accuracy_interval"]),
        ("validation rate", val, m["val_rate_interval"]),
        ("area under ROC", f"{m['auc']:.4f}", m["auc_interval"]),
        ("equal error rate", f"{m['eer']:.4f}", m["eer_interval"]),
    ):
        table.add_row(label, value, "95%: {:.4f} to {:.4f}".format(*interval) if interval else "")
    if identification := m.get("identification"):
        ranks = f"{identification['rank_1']:.4f}, {identification['rank_5']:.4f}"
        gallery = plural(identification["gallery"], "person", "people")
        table.add_row("rank 1, rank 5", ranks, gallery)
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
    from rich.table import Table

    m = stage.metrics
    comparison = m["comparison"]
    pairs = m["pairs"] - m["pairs_skipped"]
    table = Table(
        "", *comparison["models"], "difference", "95%", "p", title=f"On {plural(pairs, 'pair')}"
    )
    for name, metric in comparison["figures"].items():
        ends = p_value = "–"
        if metric["p_value"] is not None:
            ends = f"{metric['low']:+.3f} to {metric['high']:+.3f}"
            p_value = f"{metric['p_value']:.3g}"
        values = (f"{metric['first']:.4f}", f"{metric['second']:.4f}")
        table.add_row(name, *values, f"{metric['difference']:+.4f}", ends, p_value)
    only = (f"{comparison['only_first']:,}", f"{comparison['only_second']:,}")
    table.add_row("only right", *only, "", "McNemar", f"{comparison['mcnemar_p']:.3g}")
    for column in table.columns[1:]:
        column.justify = "right"
    return table
