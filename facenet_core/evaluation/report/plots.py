"""The report's plots, as PNG files and as SVG that takes its colours and font from the page.

A plot is a figure of matplotlib and the points of it that have a label when pointed at.
"""

from __future__ import annotations

import html
import io
import json
import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from facenet_core.evaluation.protocol.curves import Roc

INK, MUTED, GRID = "#1c2330", "#667085", "#e3e7ee"
SAME, DIFFERENT, PAPER = "#1668dc", "#d9730d", "#ffffff"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    SAME: "--same",
    DIFFERENT: "--different",
    PAPER: "--paper",
}
_SIZE = (5.2, 3.7)
_SMALL = (4.0, 2.5)
_CURVE_POINTS = 500
_HOVER_EVERY = 4  # counted from the right: the curve ends with a point
_BINS = 60
# matplotlib's settings for SVG are global, and reports may be made in several threads.
_SVG_SETTINGS = threading.Lock()


# Labels of the columns of a training's history, by the title of their plot.
TRAINING_CURVES: Mapping[str, Mapping[str, str]] = {
    "Loss": {"loss": "in all", "cross_entropy": "cross-entropy", "validation_loss": "held out"},
    "Accuracy": {"accuracy": "training", "validation_accuracy": "held out"},
    "Center loss": {"center_loss": "training"},
    "Learning rate": {"learning_rate": "training"},
}


@dataclass(frozen=True)
class Plot:
    """A figure, with data points [n, 2] and the label of each."""

    figure: Figure
    points: np.ndarray
    labels: Sequence[str]


def roc_plot(
    curves: Sequence[tuple[str, Roc]],
    nrof_different: int,
    far_target: float,
    val_rate: float | None = None,
) -> Plot:
    """ROC curves over the logarithm of the false accept rate.

    Args:
        curves: at most three exact curves with their names; the first can be pointed at.
        nrof_different: pairs of two people: the resolution of the false accept rate.
        far_target: where VAL is taken.
        val_rate: VAL there, to mark on the only curve.
    """
    figure, axes = _new(_SIZE)
    lowest = min(0.5 / nrof_different, far_target / 2)
    grid = np.geomspace(lowest, 1, _CURVE_POINTS)
    axes.plot(grid, grid, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    for color, (name, curve) in zip((SAME, DIFFERENT, MUTED), curves, strict=False):
        tar = curve.tar[_points_at(curve, grid)]
        axes.plot(grid, tar, color=color, linewidth=2, solid_joinstyle="round", label=name)
    axes.axvline(far_target, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    if val_rate is not None:
        axes.plot([far_target], [val_rate], "o", color=SAME, markeredgecolor=PAPER, markersize=8)
        right = far_target < 0.05
        axes.annotate(
            f"VAL {val_rate:.1%} @ FAR {far_target:g}",
            (far_target, val_rate),
            xytext=(9 if right else -9, -14 if val_rate > 0.5 else 10),
            textcoords="offset points",
            ha="left" if right else "right",
            color=INK,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    if len(curves) > 1:
        axes.legend(loc="lower right", frameon=False, labelcolor=INK, fontsize=9.5)
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_ylim(0, 1.02)
    _log_ticks(axes.xaxis)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _label(axes, "False accept rate (log scale)", "True accept rate")
    _, first = curves[0]
    far = grid[::-_HOVER_EVERY][::-1]
    points = _points_at(first, far)
    labels = [
        f"FAR {first.far[p]:.4f}   TAR {first.tar[p]:.2%}   threshold {first.threshold[p]:.3f}"
        if p
        else "FAR 0   TAR 0 %"
        for p in points
    ]
    return Plot(figure, np.stack([far, first.tar[points]], axis=1), labels)


def det_plot(curve: Roc, nrof_same: int, nrof_different: int) -> Plot:
    """Detection error trade-off: false non-matches over false matches, both logarithmic."""
    figure, axes = _new(_SIZE)
    low_x, low_y = 0.5 / nrof_different, 0.5 / nrof_same
    grid = np.geomspace(low_x, 1, _CURVE_POINTS)
    points = _points_at(curve, grid)
    fnmr = np.maximum(1 - curve.tar[points], low_y)
    axes.plot(grid, grid, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.plot(grid, fnmr, color=SAME, linewidth=2, solid_joinstyle="round")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low_x, 1)
    axes.set_ylim(low_y, 1.1)
    _log_ticks(axes.xaxis)
    _log_ticks(axes.yaxis)
    _label(axes, "False match rate (log scale)", "False non-match rate (log scale)")
    labels = [
        f"FMR {curve.far[p]:.4f}   FNMR {1 - curve.tar[p]:.4f}"
        for p in points[::-_HOVER_EVERY][::-1]
    ]
    return Plot(figure, np.stack([grid, fnmr], axis=1)[::-_HOVER_EVERY][::-1], labels)


def histogram_plot(distances: np.ndarray, same: np.ndarray, threshold: float, metric: str) -> Plot:
    """Distances of pairs of one person and of two, each as shares of their kind."""
    figure, axes = _new(_SIZE)
    low, high = float(distances.min()), float(max(distances.max(), threshold))
    room = 0.03 * (high - low) or 0.5
    edges = np.linspace(max(0.0, low - room), high + room, _BINS + 1)
    shares = []
    for mask, color, label in ((same, SAME, "one person"), (~same, DIFFERENT, "two people")):
        counts, _ = np.histogram(distances[mask], edges)
        share = counts / counts.sum()
        axes.stairs(share, edges, fill=True, color=color, alpha=0.3, linewidth=0)
        axes.stairs(share, edges, color=color, linewidth=1.8, label=label)
        shares.append(share)
    axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    top = axes.get_ylim()[1] * 1.2  # room for the words above the bars
    axes.set_ylim(0, top)
    left = threshold > (edges[0] + edges[-1]) / 2
    axes.annotate(
        f"threshold {threshold:.3f}",
        (threshold, top),
        xytext=(-6 if left else 6, -11),
        textcoords="offset points",
        ha="right" if left else "left",
        color=INK,
    )
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper right", frameon=False, labelcolor=INK, fontsize=9.5)
    names = {"euclidean": "Squared Euclidean distance", "cosine": "Angle / π"}
    _label(axes, names[metric], "Share of pairs")
    middles = (edges[1:] + edges[:-1]) / 2
    labels = [
        f"{start:.3f} to {end:.3f}   one person {one:.1%}   two people {two:.1%}"
        for start, end, one, two in zip(edges, edges[1:], *shares, strict=False)
    ]
    return Plot(figure, np.stack([middles, np.maximum(*shares)], axis=1), labels)


def cmc_plot(cmc: Sequence[float]) -> Plot:
    """Cumulative match curve: how often the right person is among the k nearest."""
    figure, axes = _new(_SIZE)
    ranks = np.arange(1, len(cmc) + 1)
    axes.plot(ranks, cmc, color=SAME, linewidth=2, marker="o", markersize=3)
    axes.set_ylim(min(cmc) - 0.05 * (1.02 - min(cmc)), 1.02)
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _label(axes, "Rank", "Identified")
    labels = [f"rank {rank}   {share:.2%}" for rank, share in zip(ranks, cmc, strict=True)]
    return Plot(figure, np.stack([ranks, np.array(cmc)], axis=1), labels)


def _training_plot(
    epochs: Sequence[float], curves: Mapping[str, Sequence[float]], *, log: bool = False
) -> Plot:
    """Training curves over epochs, at most three of them."""
    figure, axes = _new(_SMALL)
    for color, (label, values) in zip((SAME, DIFFERENT, MUTED), curves.items(), strict=False):
        marker = "o" if len(epochs) < 3 else None
        axes.plot(epochs, values, color=color, linewidth=1.8, label=label, marker=marker)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    if len(curves) > 1:
        axes.legend(loc="best", frameon=False, labelcolor=INK, fontsize=9.5)
    axes.xaxis.set_major_locator(_whole_numbers())
    _label(axes, "Epoch", "")
    first = np.array(next(iter(curves.values())), float)
    labels = [
        f"epoch {epoch:g}   "
        + "   ".join(f"{name} {values[row]:.4g}" for name, values in curves.items())
        for row, epoch in enumerate(epochs)
    ]
    points = np.stack([np.array(epochs, float), first], axis=1)
    return Plot(figure, points, labels)


def training_plots(
    history: Mapping[str, Sequence[float | None]],
    curves: Mapping[str, Mapping[str, str]] = TRAINING_CURVES,
) -> Iterator[tuple[str, Plot]]:
    """Titles and plots of those curves that the columns of a history have."""
    epochs = [epoch for epoch in history.get("epoch", ()) if epoch is not None]
    for title, columns in curves.items() if epochs else ():
        values = {
            label: [math.nan if value is None else value for value in history[column]]
            for column, label in columns.items()
            if any(history.get(column) or ())
        }
        if values:
            yield title, _training_plot(epochs, values, log=title == "Learning rate")


def to_png(figure: Figure) -> bytes:
    """A PNG of twice the resolution of a common screen, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(plot: Plot, title: str) -> str:
    """An `<svg>` element for a page that defines `--ink`, `--line`, `--same` … and the font.

    Its `data-points` are JSON: `[x, y, label]` in the units of its view box, for the page's script.
    The same plot gives the same text.
    """
    figure = plot.figure
    buffer = io.StringIO()
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": title}
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _SVG_SETTINGS, matplotlib.rc_context(settings):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    # Ids and rules are the whole page's: keep only the ids referred to, and leave rules to it.
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", svg, count=5)
    points = html.escape(json.dumps(_points_on_page(plot), separators=(",", ":")))
    start = f'<svg role="img" aria-label="{html.escape(title)}" data-points="{points}"'
    return svg.replace("<svg", start, 1)


def _points_on_page(plot: Plot) -> list[tuple[float, float, str]]:
    """The points that lie within the axes, in points from the upper left corner."""
    (axes,) = plot.figure.axes
    inside = axes.transAxes.inverted().transform(axes.transData.transform(plot.points))
    box = axes.get_position()
    width, height = plot.figure.get_size_inches() * 72
    return [
        (
            round(float((box.x0 + x * box.width) * width), 1),
            round(float((1 - box.y0 - y * box.height) * height), 1),
            label,
        )
        for (x, y), label in zip(inside, plot.labels, strict=True)
        if np.isfinite([x, y]).all() and -0.01 <= x <= 1.01 and -0.01 <= y <= 1.01
    ]


def _new(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.8)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MUTED)
    axes.tick_params(which="both", color=MUTED, labelcolor=MUTED, labelsize=9.5, left=False)
    return figure, axes


def _points_at(curve: Roc, far: np.ndarray) -> np.ndarray:
    """Numbers of the curve's last points at or below false accept rates."""
    return np.searchsorted(curve.far, far, side="right") - 1


def _log_ticks(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(10, numticks=8))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _whole_numbers() -> MaxNLocator:
    """matplotlib's own locator, without ticks between whole numbers."""
    return MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=MUTED, fontsize=10)
    axes.set_ylabel(y, color=MUTED, fontsize=10)
