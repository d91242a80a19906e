"""The report's plots, as PNG files and as SVG that takes its colours and font from the page."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from facenet_core.evaluation.verification import Roc

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
_BINS = 60
# matplotlib's settings for SVG are global, and reports may be made in several threads.
_SVG_SETTINGS = threading.Lock()


def roc_figure(curve: Roc, nrof_different: int, far_target: float, val_rate: float) -> Figure:
    """The ROC curve over the logarithm of the false accept rate, with VAL@FAR marked.

    Args:
        curve: the exact curve.
        nrof_different: pairs of two people: the resolution of the false accept rate.
        far_target: where VAL is taken.
        val_rate: VAL there.
    """
    figure, axes = _new(_SIZE)
    lowest = min(0.5 / nrof_different, far_target / 2)
    grid = np.geomspace(lowest, 1, _CURVE_POINTS)
    tar = curve.tar[np.searchsorted(curve.far, grid, side="right") - 1]
    axes.plot(grid, grid, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.plot(grid, tar, color=SAME, linewidth=2, solid_joinstyle="round")
    axes.axvline(far_target, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot([far_target], [val_rate], "o", color=SAME, markeredgecolor=PAPER, markersize=8)
    right = far_target < 0.05
    axes.annotate(
        f"VAL {val_rate:.1%} @ FAR {far_target:g}",
        (far_target, val_rate),
        xytext=(9 if right else -9, -14 if val_rate > 0.5 else 10),
        textcoords="offset points",
        ha="left" if right else "right",
        color=INK,
    )
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(LogLocator(10, numticks=8))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _label(axes, "False accept rate (log scale)", "True accept rate")
    return figure


def histogram_figure(
    distances: np.ndarray, same: np.ndarray, threshold: float, metric: str
) -> Figure:
    """Distances of pairs of one person and of two, each as shares of their kind."""
    figure, axes = _new(_SIZE)
    low, high = float(distances.min()), float(max(distances.max(), threshold))
    room = 0.03 * (high - low) or 0.5
    edges = np.linspace(max(0.0, low - room), high + room, _BINS + 1)
    for chosen, color, label in ((same, SAME, "one person"), (~same, DIFFERENT, "two people")):
        counts, _ = np.histogram(distances[chosen], edges)
        share = counts / counts.sum()
        axes.stairs(share, edges, fill=True, color=color, alpha=0.3, linewidth=0)
        axes.stairs(share, edges, color=color, linewidth=1.8, label=label)
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
    return figure


def curve_figure(
    epochs: Sequence[float], curves: Mapping[str, Sequence[float]], *, log: bool = False
) -> Figure:
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
    axes.xaxis.get_major_locator().set_params(integer=True)
    _label(axes, "Epoch", "")
    return figure


def to_png(figure: Figure) -> bytes:
    """A PNG of twice the resolution of a common screen, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure, title: str) -> str:
    """An `<svg>` element for a page that defines `--ink`, `--line`, `--same` … and the font.

    The same figure gives the same text.
    """
    buffer = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": title}
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
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


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


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=MUTED, fontsize=10)
    axes.set_ylabel(y, color=MUTED, fontsize=10)
