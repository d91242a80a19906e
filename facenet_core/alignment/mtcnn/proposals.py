"""The first step of the cascade: P-Net over the pyramids of all images of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log1p

import numpy as np

from facenet_core.alignment.mtcnn import canvases
from facenet_core.alignment.mtcnn.networks import probability
from facenet_core.alignment.mtcnn.pyramid import CELL, STRIDE
from facenet_core.alignment.mtcnn.weights import CANVAS, Network


@dataclass(frozen=True)
class Proposals:
    """Windows that P-Net takes for faces, by level and within a level by column and row.

    Attributes:
        level: number of the level, int ``[n]``, ascending.
        windows: float64 ``[n, 4]``, x1, y1, x2, y2 in pixels of the full image.
        scores: float32 ``[n]``, the probability of a face.
        offsets: float32 ``[n, 4]``, of the corners, as shares of the window's side.
    """

    level: np.ndarray
    windows: np.ndarray
    scores: np.ndarray
    offsets: np.ndarray


def propose(
    network: Network,
    levels: Sequence[np.ndarray],
    scales: Sequence[float],
    threshold: float,
) -> Proposals:
    """Judge every window of every level.

    Args:
        network: P-Net, see ``networks.Networks.proposal``.
        levels: uint8 ``[h, w, 3]``, each side at least 12 pixels.
        scales: of each level, as a share of the full image.
        threshold: the least probability that counts.
    """
    layouts = canvases.arrange([level.shape[:2] for level in levels], CANVAS)
    outputs = [network(canvas) for canvas in canvases.paint(layouts, levels, CANVAS)]
    judged = [
        (*canvases.passing(tiles, output, _logit_below(threshold)), output)
        for tiles, output in zip(layouts, outputs, strict=True)
    ]
    level = _joined([np.empty(0, np.intp), *(f[0] for f in judged)])
    cells = _joined([np.empty((0, 2), np.intp), *(f[1] for f in judged)])
    passed = (o[p[:, 0], p[:, 1]] for _, _, p, o in judged)
    values = _joined([np.empty((0, 5), np.float32), *passed])
    scores = probability(values[:, 0])
    order = np.lexsort((cells[:, 0], cells[:, 1], level))
    order = order[scores[order] >= threshold]
    level, cells, values, scores = level[order], cells[order], values[order], scores[order]
    _mirror_single_ones(level, cells, values, levels, layouts, outputs)
    corner = STRIDE * cells[:, ::-1].astype(np.float64)
    scale = np.asarray(scales, dtype=np.float64)[level][:, None]
    windows = np.hstack([np.fix((corner + 1) / scale), np.fix((corner + CELL) / scale)])
    return Proposals(level, windows, scores, values[:, 1:])


def _mirror_single_ones(
    level: np.ndarray,
    cells: np.ndarray,
    values: np.ndarray,
    levels: Sequence[np.ndarray],
    layouts: Sequence[Sequence[canvases.CanvasTile]],
    outputs: Sequence[np.ndarray],
) -> None:
    """Where a level has a single proposal, take the offsets from the mirrored column, in place.

    The original does so, an heirloom of Matlab's handling of vectors. Its results, which models
    were trained on, contain that.
    """
    numbers, first, counts = np.unique(level, return_index=True, return_counts=True)
    for number, row in zip(numbers[counts == 1], first[counts == 1], strict=True):
        width = canvases.cells(levels[number].shape[1])
        mirrored = int(cells[row, 0]), width - 1 - int(cells[row, 1])
        canvas, y, x = canvases.find(layouts, int(number), mirrored)
        values[row, 1:] = outputs[canvas][y, x, 1:]


def _logit_below(threshold: float) -> float:
    """A bound that all logits of probabilities of at least ``threshold`` reach."""
    return (min(log(threshold) - log1p(-threshold), 15.0) if threshold < 1 else 15.0) - 1e-3


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)
