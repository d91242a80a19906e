from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.alignment.mtcnn import canvases

SIDE = 64
sizes = st.lists(st.tuples(st.integers(12, 200), st.integers(12, 200)), max_size=12)


@pytest.mark.parametrize(("side", "count"), [(12, 1), (13, 2), (14, 2), (15, 3), (304, 147)])
def test_pnet_judges_a_window_every_two_pixels(side, count):
    assert canvases.cells(side) == count


@given(sizes)
def test_tiles_stay_on_their_canvas_and_do_not_overlap(sizes):
    for tiles in canvases.arrange(sizes, SIDE):
        taken = np.zeros((SIDE, SIDE), int)
        for tile in tiles:
            (y, x), (height, width) = tile.target, tile.size
            assert y % 2 == 0
            assert x % 2 == 0
            assert y + height <= SIDE
            assert x + width <= SIDE
            # A side of odd length keeps one pixel free: its last pooling window hangs over.
            taken[y : y + height + height % 2, x : x + width + width % 2] += 1
        assert taken.max() == 1


@given(sizes)
def test_every_window_of_every_level_is_read_once(sizes):
    judged = [np.zeros((canvases.cells(h), canvases.cells(w)), int) for h, w in sizes]
    for tiles in canvases.arrange(sizes, SIDE):
        levels, cells, _ = canvases.passing(tiles, np.ones((SIDE // 2, SIDE // 2, 1)), 1.0)
        for level, (y, x) in zip(levels, cells, strict=True):
            judged[level][y, x] += 1
    assert all((level == 1).all() for level in judged)


@given(sizes)
def test_a_cell_is_found_where_it_was_read(sizes):
    layouts = canvases.arrange(sizes, SIDE)
    for number, tiles in enumerate(layouts):
        output = np.random.default_rng(number).uniform(size=(SIDE // 2, SIDE // 2, 1))
        for level, cell, path in zip(*canvases.passing(tiles, output, 0.99), strict=True):
            assert output[tuple(path)] >= 0.99
            assert canvases.find(layouts, level, tuple(cell)) == (number, *path)


@given(sizes)
def test_a_canvas_shows_the_levels_and_marks_the_rest(sizes):
    rng = np.random.default_rng(0)
    levels = [rng.integers(1, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    layouts = canvases.arrange(sizes, SIDE)
    for tiles, canvas in zip(layouts, canvases.paint(layouts, levels, SIDE), strict=True):
        for tile in tiles:
            (y, x), (top, left), (height, width) = tile.target, tile.source, tile.size
            region = canvas[y : y + height, x : x + width, :3]
            expected = levels[tile.level][top : top + height, left : left + width]
            np.testing.assert_array_equal(region, expected)
        np.testing.assert_array_equal(canvas[:, :, 3] == 255, canvas[:, :, 0] == 0)


@given(sizes)
def test_the_layout_is_the_same_every_time(sizes):
    assert canvases.arrange(sizes, SIDE) == canvases.arrange(sizes, SIDE)
