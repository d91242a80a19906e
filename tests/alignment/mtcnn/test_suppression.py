from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facenet_core.alignment.mtcnn import suppression
from facenet_core.alignment.mtcnn.suppression import rank, suppress


def one_group(scores):
    return np.zeros(len(scores), int)


def plain_suppression(boxes, scores, groups, threshold, overlap):
    """One box after the other, in Python."""
    remaining = []
    for i in rank(scores, groups).tolist():
        x1, y1, x2, y2 = boxes[i]
        for j in remaining:
            if groups[i] != groups[j]:
                continue
            u1, v1, u2, v2 = boxes[j]
            shared = max(0, min(x2, u2) - max(x1, u1) + 1) * max(0, min(y2, v2) - max(y1, v1) + 1)
            areas = (x2 - x1 + 1) * (y2 - y1 + 1), (u2 - u1 + 1) * (v2 - v1 + 1)
            whole = sum(areas) - shared if overlap == "union" else min(areas)
            if shared / whole > threshold:
                break
        else:
            remaining.append(i)
    return remaining


@st.composite
def candidates(draw):
    n = draw(st.integers(0, 60))
    corners = draw(hnp.arrays(np.float64, (n, 2), elements=st.integers(-5, 40)))
    sides = draw(hnp.arrays(np.float64, (n, 2), elements=st.integers(0, 30)))
    scores = draw(hnp.arrays(np.float32, n, elements=st.sampled_from([0.6, 0.75, 0.9, 1.0])))
    groups = np.sort(draw(hnp.arrays(np.int64, n, elements=st.sampled_from([0, 1, 2, 7]))))
    return np.hstack([corners, corners + sides]), scores, groups


@given(candidates(), st.sampled_from([0.3, 0.5, 0.7]), st.sampled_from(["union", "smaller"]))
def test_agrees_with_a_plain_loop(candidates, threshold, overlap):
    remaining = suppress(*candidates, threshold, overlap)
    assert remaining.tolist() == plain_suppression(*candidates, threshold, overlap)


def test_agrees_with_a_plain_loop_on_more_boxes_than_are_compared_at_a_time():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 300, (3 * suppression._AT_A_TIME, 2)).astype(float)
    boxes = np.hstack([corners, corners + rng.integers(10, 60, corners.shape)])
    scores = rng.uniform(size=len(boxes)).astype(np.float32)
    candidates = boxes, scores, np.sort(rng.permutation(len(boxes)) // 700)
    remaining = suppress(*candidates, 0.5, "union")
    assert remaining.tolist() == plain_suppression(*candidates, 0.5, "union")


def test_an_overlap_of_exactly_the_threshold_is_allowed():
    boxes = np.array([[0.0, 0, 9, 9], [0, 0, 9, 4]])
    assert suppress(boxes, np.array([0.9, 0.8]), np.zeros(2, int), 0.5, "union").tolist() == [0, 1]


def test_a_box_inside_another_is_suppressed_by_its_share_of_the_smaller():
    boxes = np.array([[0.0, 0, 99, 99], [40, 40, 49, 49]])
    scores = np.array([0.9, 0.8])
    assert suppress(boxes, scores, one_group(scores), 0.7, "union").tolist() == [0, 1]
    assert suppress(boxes, scores, one_group(scores), 0.7, "smaller").tolist() == [0]


@given(hnp.arrays(np.float32, st.integers(0, 80), elements=st.sampled_from([0.6, 0.8, 0.9, 1.0])))
def test_ranks_by_descending_score(scores):
    order = rank(scores, one_group(scores))
    assert sorted(order.tolist()) == list(range(len(scores)))
    assert (np.diff(scores[order]) <= 0).all()


def test_of_few_equals_the_later_comes_first():
    scores = np.array([0.9, 1.0, 0.7, 1.0, 0.9])
    assert rank(scores, one_group(scores)).tolist() == [3, 1, 4, 0, 2]


def test_groups_are_ranked_one_after_the_other():
    scores = np.array([0.7, 0.9, 1.0, 0.6, 0.8])
    assert rank(scores, np.array([0, 0, 0, 3, 3])).tolist() == [2, 1, 0, 4, 3]


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ("96666998667787768", "0 5 6 7 16 12 11 10 13 14 9 15 4 3 2 1 8"),
        (
            "855769777875889866888969559965659876758756876",
            "14 21 23 5 26 27 32 15 18 19 20 13 12 9 0 33 38 42 7 10 34 6 36 43 39 3 8 4 44 16 17 "
            "28 30 35 41 22 24 25 11 29 31 37 40 2 1",
        ),
    ],
)
def test_many_equals_come_in_the_order_of_the_portable_quicksort(scores, order):
    """The expected order is NumPy's with its AVX2 and AVX-512 variants turned off."""
    values = np.array([float(s) for s in scores])
    assert rank(values, one_group(values)).tolist() == [int(i) for i in order.split()]
