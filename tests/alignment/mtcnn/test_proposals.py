"""Proposals from a network whose word on a window can be read off the window's first pixel."""

from __future__ import annotations

import numpy as np
import pytest

from facenet_core.alignment.mtcnn.proposals import propose
from facenet_core.alignment.mtcnn.weights import CANVAS


def reads_the_first_pixel(canvas: np.ndarray) -> np.ndarray:
    """Red is the logit, from -10 up; green and blue are the first two offsets."""
    first = canvas[: CANVAS - 10 : 2, : CANVAS - 10 : 2].astype(np.float32)
    offsets = np.zeros((*first.shape[:2], 2), np.float32)
    return np.dstack([first[..., :1] - 10, first[..., 1:3], offsets])


def level_with(cells: dict[tuple[int, int], tuple[int, int, int]], size=(18, 22)) -> np.ndarray:
    level = np.zeros((*size, 3), np.uint8)
    for (y, x), colour in cells.items():
        level[2 * y, 2 * x] = colour
    return level


def test_proposals_are_the_windows_that_the_cells_saw_by_level_column_and_row():
    levels = [
        level_with({(1, 5): (12, 1, 2), (2, 3): (11, 3, 4)}),
        level_with({(0, 0): (13, 5, 6), (3, 0): (30, 7, 8)}),
    ]
    proposals = propose(reads_the_first_pixel, levels, [0.5, 0.25], 0.6)
    assert proposals.level.tolist() == [0, 0, 1, 1]
    expected = [[14, 10, 36, 32], [22, 6, 44, 28], [4, 4, 48, 48], [4, 28, 48, 72]]
    np.testing.assert_array_equal(proposals.windows, expected)
    np.testing.assert_allclose(proposals.scores, 1 / (1 + np.exp([-1, -2, -3, -20])), rtol=1e-6)
    np.testing.assert_array_equal(proposals.offsets[:, :2], [[3, 4], [1, 2], [5, 6], [7, 8]])


def test_the_offsets_of_a_single_proposal_are_read_mirrored_as_in_the_original():
    # Of six columns the first is mirrored into the last.
    level = level_with({(2, 0): (20, 1, 1), (2, 5): (0, 7, 9)})
    proposals = propose(reads_the_first_pixel, [level], [0.5], 0.6)
    np.testing.assert_array_equal(proposals.offsets[:, :2], [[7, 9]])


def test_a_level_larger_than_a_canvas_is_mirrored_as_a_whole():
    last = (2 * CANVAS - 12) // 2
    level = level_with({(1, 2): (20, 1, 1), (1, last - 2): (0, 7, 9)}, size=(40, 2 * CANVAS))
    proposals = propose(reads_the_first_pixel, [level], [0.5], 0.6)
    np.testing.assert_array_equal(proposals.offsets[:, :2], [[7, 9]])


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.999, 1.0])
def test_a_probability_of_exactly_the_threshold_passes(threshold):
    level = level_with({(y, y): (10 + 5 * y, 0, 0) for y in range(4)})
    proposals = propose(reads_the_first_pixel, [level], [0.5], threshold)
    scores = 1 / (1 + np.exp(-np.float32([0, 5, 10, 15])))
    assert proposals.scores.tolist() == scores[scores >= threshold].tolist()


def test_no_levels_give_no_proposals():
    proposals = propose(reads_the_first_pixel, [], [], 0.6)
    assert proposals.windows.shape == (0, 4)
    assert proposals.offsets.shape == (0, 4)
