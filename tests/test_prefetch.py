from __future__ import annotations

import threading

import pytest

from facenet_core.prefetch import ahead, one_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_whatever_the_threads(threads: int) -> None:
    assert list(ahead(lambda step: step**2, range(20), threads)) == [n**2 for n in range(20)]


def test_an_error_while_loading_reaches_the_reader() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda step: 1 // step, range(3), 2))
    with pytest.raises(ZeroDivisionError):
        list(one_ahead(1 // step for step in range(3)))


def test_no_thread_outlives_its_reader() -> None:
    for values in (ahead(lambda step: step, range(1000), 2), one_ahead(iter(range(1000)))):
        next(values)
        values.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_one_item_is_made_while_the_one_before_is_used() -> None:
    second = threading.Event()

    def items():
        yield 1
        second.set()
        yield 2

    made = one_ahead(items())
    assert next(made) == 1
    assert second.wait(10)
    assert list(made) == [2]
