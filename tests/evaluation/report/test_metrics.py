import numpy as np

from facenet_core.evaluation.report.metrics import by_quality


def test_quality_parts_go_from_the_worst_to_the_best():
    worse = np.array([40.0, 10, 30, 20, np.nan, 80, 70, 60, 50])
    same = np.array([1, 1, 0, 1, 1, 0, 0, 1, 0], bool)
    accepted = np.array([1, 0, 0, 1, 0, 1, 0, 1, 0], bool)
    parts = by_quality(worse, same, accepted)
    assert [(p.low, p.high, p.pairs) for p in parts] == [
        (10, 20, 2),
        (30, 40, 2),
        (50, 60, 2),
        (70, 80, 2),
    ]
    assert [p.accuracy for p in parts] == [0.5, 1, 1, 0.5]
    assert [p.fnmr for p in parts] == [0.5, 0, 0, None]
    assert [p.fmr for p in parts] == [None, 0, 0, 0.5]


def test_equal_quality_stays_together_and_none_gives_nothing():
    same = np.array([True, False, True])
    (part,) = by_quality(np.ones(3), same, same)
    assert part.pairs == 3
    assert by_quality(np.full(3, np.nan), same, same) == []
