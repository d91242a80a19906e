"""The report: one self-contained page of figures, plots and faces, and the plots as files."""

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
from facenet_core.config import ValidateConfig
from facenet_core.evaluation.embeddings import Embeddings
from facenet_core.evaluation.evaluated_pairs import Trial
from facenet_core.evaluation.protocol.verification import Verification
from facenet_core.evaluation.report import pictures, plots
from facenet_core.evaluation.report.pictures import Pictures, Skipped
from facenet_core.storage import Manifest, Plan, parquet
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
    pictures: Pictures
    skipped: Sequence[Skipped]
    skipped_reasons: Sequence[tuple[str, int]]
    crops: Manifest
    model: Manifest
    made_by: Mapping[str, str]
    command: str


def files(
    plan: Plan,
    config: ValidateConfig,
    metrics: Mapping[str, Any],
    verification: Verification,
    trial: Trial,
    embeddings: Embeddings,
) -> dict[str, bytes]:
    """The plots as PNG and `report.html`, by name."""
    same = trial.pairs.same[trial.evaluated]
    one, two = int(same.sum()), int((~same).sum())
    drawings = {
        "roc": plots.roc_drawing(
            [("", verification.roc)], two, config.far_target, verification.val_rate
        ),
        "det": plots.det_drawing(verification.roc, one, two),
        "histogram": plots.histogram_drawing(
            verification.distances, same, verification.threshold, config.distance_metric
        ),
    }
    if "identification" in metrics:
        drawings["cmc"] = plots.cmc_drawing(metrics["identification"]["cmc"])
    titles = {
        "roc": "ROC curve",
        "det": "DET curve",
        "histogram": "Histogram of distances",
        "cmc": "Cumulative match curve",
    }
    crops_uri, model_uri = (given.uri for given in plan.inputs)
    crops = storage.open_artifact(crops_uri, "align")
    model = storage.open_artifact(model_uri, "train")
    drawn = {name: svg(drawing, titles[name]) for name, drawing in drawings.items()}
    page = Page(
        plan=plan,
        metrics=metrics,
        images=len(embeddings.image_ids),
        one_person=one,
        two_people=two,
        roc=drawn["roc"],
        det=drawn["det"],
        histogram=drawn["histogram"],
        cmc=drawn.get("cmc"),
        training=training_curves(read_history(model_uri, model)),
        pictures=pictures.collect(crops_uri, crops, verification, trial, embeddings),
        skipped=pictures.skipped_pairs(trial),
        skipped_reasons=pictures.reasons_of_skipping(trial),
        crops=crops,
        model=model,
        made_by=storage.made_by(),
        command=command(plan, config),
    )
    pngs = {f"{name}.png": plots.to_png(drawing.figure) for name, drawing in drawings.items()}
    return {**pngs, "report.html": render(page).encode()}


def svg(drawing: plots.Drawing, title: str) -> Markup:
    """A drawing for the page."""
    return Markup(plots.to_svg(drawing, title))


def render(page: Page) -> str:
    """The page as HTML; every name in it is escaped."""
    return template("report.html.j2").render(vars(page))


def template(name: str) -> jinja2.Template:
    """A template of this package, with the filters that write figures."""
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
        "below": lambda uri, plan: below_root(uri, _root(plan)),
        "interval": interval,
    }
    return environment.get_template(name)


def _printable(value: Any) -> Any:
    """What a template writes; attributes and file names are strangers'."""
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


def read_history(model_uri: str, model: Manifest) -> dict[str, list[float]]:
    """The columns of the model's training history; empty where it has none."""
    if not any(part.name == _HISTORY for part in model.parts):
        return {}
    return parquet.read_table(storage.join(model_uri, _HISTORY)).to_pydict()


def training_curves(history: Mapping[str, Sequence[float]]) -> list[tuple[str, Markup]]:
    """Titles and plots of those curves that the history has."""
    epochs = history.get("epoch")
    if not epochs:
        return []
    wanted = {
        "Loss": {"loss": "in all", "cross_entropy": "cross-entropy", "validation_loss": "held out"},
        "Accuracy": {"accuracy": "training", "validation_accuracy": "held out"},
        "Center loss": {"center_loss": "training"},
        "Learning rate": {"learning_rate": "training"},
    }
    drawn = []
    for title, columns in wanted.items():
        curves = {
            label: [math.nan if value is None else value for value in history[column]]
            for column, label in columns.items()
            if any(history.get(column) or ())
        }
        if curves:
            drawing = plots.training_drawing(epochs, curves, log=title == "Learning rate")
            drawn.append((title, svg(drawing, title)))
    return drawn


def command(plan: Plan, config: ValidateConfig) -> str:
    """The command line that makes this report again, with paths as `below_root` shows them."""
    root = _root(plan)
    words = ["facenet", "validate", *(below_root(given.uri, root) for given in plan.inputs)]
    defaults = ValidateConfig().determining()
    for name, value in config.determining().items():
        flag = "--" + name.replace("_", "-")
        if value == defaults[name]:
            continue
        words += [flag] if value is True else [flag, below_root(str(value), root)]
    words += ["--storage", "." if storage.is_local(root) else root]
    return shlex.join(words)


def below_root(uri: str, root: str) -> str:
    """A path as it is told to others: below the storage root, else its name alone.

    Where on which machine a root lies is nobody's business who reads a report. Addresses of object
    stores, and what is no absolute path, stay as they are.
    """
    if not uri.startswith(("/", "file:")):
        return uri
    if uri.startswith(f"{root}/"):
        return uri.removeprefix(f"{root}/")
    return posixpath.basename(uri.rstrip("/"))


def _root(plan: Plan) -> str:
    return plan.uri.rsplit("/", 3)[0]
