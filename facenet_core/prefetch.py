"""Work done ahead by threads while the caller is busy with what came before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import repeat, takewhile
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def ahead(load: Callable[[S], T], steps: Iterable[S], threads: int = 1) -> Generator[T, None, None]:
    """`load(step)` of each step in order, with `threads` of them at work before they are asked for.

    Close the iterator to end the threads.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        pending: deque[Future[T]] = deque()
        try:
            for step in steps:
                pending.append(pool.submit(load, step))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def one_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items (none of them None), each made by a thread while the one before is used."""
    with closing(ahead(lambda _: next(items, None), repeat(None))) as made:
        yield from takewhile(lambda item: item is not None, made)
