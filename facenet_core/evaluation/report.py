"""The report: one self-contained page of figures, plots and faces, and the plots as files."""

from __future__ import annotations

import base64
import io
import math
import posixpath
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from facenet_core import records, storage
from facenet_core.config import GENERATED_PAIRS, ValidateConfig
from facenet_core.evaluation import plots
from facenet_core.evaluation.embeddings import Embeddings, read_crops
from facenet_core.evaluation.trial import Trial
from facenet_core.evaluation.verification import Verification
from facenet_core.storage import Manifest, Plan

HARDEST = 8
SAMPLES = 16
SKIPPED = 12
_THUMBNAIL = 160
_HISTORY = "history.parquet"


@dataclass(frozen=True)
class Face:
    """A crop on the page; `src` is a data URI."""

    image_id: str
    identity: str
    src: str

    @property
    def caption(self) -> str:
        """`Name_0001` for `Name/Name_0001.jpg`; other image ids whole."""
        stem = posixpath.splitext(posixpath.basename(self.image_id))[0]
        return stem if self.identity and stem.startswith(self.identity) else self.image_id


@dataclass(frozen=True)
class PairOfFaces:
    """Two crops with their distance; `wrong` if the threshold of their fold misjudges them."""

    a: Face
    b: Face
    distance: float
    wrong: bool


@dataclass(frozen=True)
class Skipped:
    """A pair that could not be evaluated: its two image ids, each with whether it is why."""

    images: tuple[tuple[str, bool], ...]
    reason: str


@dataclass(frozen=True)
class Page:
    """Everything that the template shows.

    `closest` are pairs of two people, `farthest` pairs of one; `false_matches` and
    `false_non_matches` count all that were judged wrongly.
    """

    plan: Plan
    metrics: Mapping[str, Any]
    images: int
    one_person: int
    two_people: int
    roc: Markup
    histogram: Markup
    training: Sequence[tuple[str, Markup]]
    closest: Sequence[PairOfFaces]
    farthest: Sequence[PairOfFaces]
    false_matches: int
    false_non_matches: int
    samples: Sequence[Face]
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
    roc = plots.roc_figure(
        verification.roc, int((~same).sum()), config.far_target, verification.val_rate
    )
    histogram = plots.histogram_figure(
        verification.distances, same, verification.threshold, config.distance_metric
    )
    crops_uri, model_uri = (given.uri for given in plan.inputs)
    crops = storage.open_artifact(crops_uri, "align")
    model = storage.open_artifact(model_uri, "train")
    wrong = misjudged(verification, trial)
    hardest = [hardest_pairs(verification, trial, same=kind) for kind in (False, True)]
    samples = sample_images(embeddings)
    paired = {image_id for rows in hardest for row in rows for image_id in trial.ids(row)}
    faces = {
        crop.image_id: Face(crop.image_id, crop.identity, thumbnail(crop.data))
        for crop in read_crops(crops_uri, crops, {*samples, *paired})
    }
    closest, farthest = (
        [
            PairOfFaces(
                *(faces[image_id] for image_id in trial.ids(row)),
                distance=float(verification.distances[row]),
                wrong=bool(wrong[row]),
            )
            for row in rows
        ]
        for rows in hardest
    )
    page = Page(
        plan=plan,
        metrics=metrics,
        images=len(embeddings.image_ids),
        one_person=int(same.sum()),
        two_people=int((~same).sum()),
        roc=Markup(plots.to_svg(roc, "ROC curve")),
        histogram=Markup(plots.to_svg(histogram, "Histogram of distances")),
        training=training_curves(read_history(model_uri, model)),
        closest=closest,
        farthest=farthest,
        false_matches=int((wrong & ~same).sum()),
        false_non_matches=int((wrong & same).sum()),
        samples=[faces[image_id] for image_id in samples],
        skipped=skipped_pairs(trial),
        skipped_reasons=reasons_of_skipping(trial),
        crops=crops,
        model=model,
        made_by=storage.made_by(),
        command=command(plan, config),
    )
    return {
        "roc.png": plots.to_png(roc),
        "histogram.png": plots.to_png(histogram),
        "report.html": render(page).encode(),
    }


def render(page: Page) -> str:
    """The page as HTML; every name in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["number"] = number
    return environment.get_template("report.html.j2").render(vars(page))


def percent(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def misjudged(verification: Verification, trial: Trial) -> np.ndarray:
    """Bool [k] over the evaluated pairs: decided wrongly by the threshold of their fold."""
    threshold_of = {fold.fold: fold.threshold for fold in verification.folds}
    folds = trial.pairs.fold[trial.evaluated]
    thresholds = np.array([threshold_of[int(fold)] for fold in folds])
    return (verification.distances < thresholds) != trial.pairs.same[trial.evaluated]


def hardest_pairs(verification: Verification, trial: Trial, *, same: bool) -> np.ndarray:
    """Rows of the most distant pairs of one person, or of the closest pairs of two."""
    rows = np.flatnonzero(trial.pairs.same[trial.evaluated] == same)
    distances = verification.distances[rows]
    return rows[np.argsort(-distances if same else distances, kind="stable")[:HARDEST]]


def sample_images(embeddings: Embeddings) -> list[str]:
    """Ids of one image of each of a few people, spread evenly over all of them."""
    first_of: dict[str, str] = {}
    for image_id, identity in zip(embeddings.image_ids, embeddings.identities, strict=True):
        first_of.setdefault(identity, image_id)
    ids = [first_of[identity] for identity in sorted(first_of)]
    places = np.linspace(0, len(ids) - 1, min(SAMPLES, len(ids))).astype(int)
    return [ids[place] for place in places]


def thumbnail(data: bytes) -> str:
    """A crop as a data URI of a small JPEG."""
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def skipped_pairs(trial: Trial) -> list[Skipped]:
    """The first few pairs that could not be evaluated."""
    skipped = []
    for row in np.flatnonzero(trial.missing)[:SKIPPED]:
        ids = (trial.pairs.image_id_a[row], trial.pairs.image_id_b[row])
        reasons = [trial.reasons[image_id] for image_id in ids if image_id in trial.reasons]
        images = tuple((image_id, image_id in trial.reasons) for image_id in ids)
        skipped.append(Skipped(images, "; ".join(dict.fromkeys(reasons))))
    return skipped


def reasons_of_skipping(trial: Trial) -> list[tuple[str, int]]:
    """How many images gave no crop for which reason, the most frequent first."""
    reasons = Counter(reason.partition(":")[0] for reason in trial.reasons.values())
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def read_history(model_uri: str, model: Manifest) -> dict[str, list[float]]:
    """The columns of the model's training history; empty where it has none."""
    if not any(part.name == _HISTORY for part in model.parts):
        return {}
    return records.read_table(storage.join(model_uri, _HISTORY)).to_pydict()


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
            figure = plots.curve_figure(epochs, curves, log=title == "Learning rate")
            drawn.append((title, Markup(plots.to_svg(figure, title))))
    return drawn


def command(plan: Plan, config: ValidateConfig) -> str:
    """The command line that makes this report again."""
    words = ["facenet", "validate", *(given.uri for given in plan.inputs)]
    if config.pairs == GENERATED_PAIRS:
        words += ["--pairs", GENERATED_PAIRS]
    defaults = ValidateConfig().determining()
    for name, value in config.determining().items():
        flag = "--" + name.replace("_", "-")
        if value == defaults[name]:
            continue
        words += [flag] if value is True else [flag, str(value)]
    words += ["--storage", plan.uri.rsplit("/", 3)[0]]
    return shlex.join(words)
