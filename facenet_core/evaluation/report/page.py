"""The report: one self-contained page of metrics, plots and faces, and the plots as files."""

from __future__ import annotations

import math
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from facenet_core import storage
from facenet_core.config import ValidateConfig, as_options
from facenet_core.evaluation.report import pictures, plots
from facenet_core.evaluation.report.metrics import Evaluation
from facenet_core.evaluation.report.pictures import ReportPictures, Skipped
from facenet_core.storage import Artifact, Plan, parquet
from facenet_core.text.plural import plural
from facenet_core.text.printable import printable

_HISTORY = "history.parquet"


@dataclass(frozen=True)
class Page:
    """Everything that the template shows."""

    plan: Plan
    metrics: Mapping[str, Any]
    images: int
    one_person: int
    two_people: int
    roc: Markup
    det: Markup
    histogram: Markup
    cmc: Markup | None
    training: Sequence[tuple[str, Markup]]
    pictures: ReportPictures
    skipped: Sequence[Skipped]
    skipped_reasons: Sequence[tuple[str, int]]
    crops: Artifact
    model: Artifact
    made_by: Mapping[str, str]
    command: str


def files(
    plan: Plan, config: ValidateConfig, evaluation: Evaluation, metrics: Mapping[str, Any]
) -> dict[str, bytes]:
    """The plots as PNG and `report.html`, by name."""
    verification = evaluation.verification
    same = verification.pairs.same
    one, two = int(same.sum()), int((~same).sum())
    drawn = {
        "roc": plots.roc_plot(
            [("", verification.roc)], two, config.far_target, verification.val_rate
        ),
        "det": plots.det_plot(verification.roc, one, two),
        "histogram": plots.histogram_plot(
            verification.distances, same, verification.threshold, config.distance_metric
        ),
    }
    if "identification" in metrics:
        drawn["cmc"] = plots.cmc_plot(metrics["identification"]["cmc"])
    titles = {
        "roc": "ROC curve",
        "det": "DET curve",
        "histogram": "Histogram of distances",
        "cmc": "Cumulative match curve",
    }
    svgs = {name: svg(plot, titles[name]) for name, plot in drawn.items()}
    page = Page(
        plan=plan,
        metrics=metrics,
        images=len(evaluation.embeddings.image_ids),
        one_person=one,
        two_people=two,
        roc=svgs["roc"],
        det=svgs["det"],
        histogram=svgs["histogram"],
        cmc=svgs.get("cmc"),
        training=training_curves(read_history(evaluation.model)),
        pictures=pictures.collect(evaluation),
        skipped=pictures.skipped_pairs(evaluation.pairs),
        skipped_reasons=pictures.reasons_of_skipping(evaluation.pairs),
        crops=evaluation.crops,
        model=evaluation.model,
        made_by=storage.made_by(),
        command=command(plan, config),
    )
    pngs = {f"{name}.png": plots.to_png(plot.figure) for name, plot in drawn.items()}
    return {**pngs, "report.html": render(page).encode()}


def svg(plot: plots.Plot, title: str) -> Markup:
    """A plot for the page."""
    return Markup(plots.to_svg(plot, title))


def render(page: Page) -> str:
    """The page as HTML; every name in it is escaped."""
    return template("report.html.j2").render(vars(page))


def template(name: str) -> jinja2.Template:
    """A template of this package, with the filters that write numbers."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "templates"),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "number": number,
        "count": "{:,}".format,
        "plural": plural,
        "below": lambda uri, plan: below_root(uri, plan.root),
        "interval": interval,
    }
    return environment.get_template(name)


def _printable(value: Any) -> Any:
    """Without control characters: attributes and file names come from strangers."""
    return printable(value) if type(value) is str else value


def percent(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(ends: Sequence[float] | None, percents: bool = True) -> str:
    """`81.20 to 85.10 %`, or nothing."""
    if ends is None:
        return ""
    if percents:
        return f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f} %"
    return f"{ends[0]:.4f} to {ends[1]:.4f}"


def read_history(model: Artifact) -> dict[str, list[float | None]]:
    """The columns of the model's training history; empty where it has none."""
    if not model.has_file(_HISTORY):
        return {}
    return parquet.read_table(model.file_uri(_HISTORY)).to_pydict()


def training_curves(history: Mapping[str, Sequence[float | None]]) -> list[tuple[str, Markup]]:
    """Titles and plots of those curves that the history has."""
    return [(title, svg(plot, title)) for title, plot in plots.training_plots(history)]


def command(plan: Plan, config: ValidateConfig) -> str:
    """The command line that makes this report again, with paths as `below_root` writes them."""
    root = plan.root
    values = {
        name: below_root(value, root) if isinstance(value, str) else value
        for name, value in config.determining().items()
    }
    crops, model, *embeddings = plan.inputs
    sources = [*(embeddings or [crops]), model]
    words = ["facenet", "validate", *(below_root(entry.uri, root) for entry in sources)]
    words += as_options(ValidateConfig, values)
    return shlex.join([*words, "--storage", "." if storage.is_local(root) else root])


def below_root(uri: str, root: str) -> str:
    """A path without the folders above the storage root; of a path elsewhere, its name alone.

    A report must not reveal where a root lies on the machine that made it. URIs of object stores
    and relative paths stay as they are.
    """
    if not uri.startswith(("/", "file:")):
        return uri
    if uri.startswith(f"{root}/"):
        return uri.removeprefix(f"{root}/")
    return posixpath.basename(uri.rstrip("/"))
