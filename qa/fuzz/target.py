"""What is fuzzed: a reader of bytes, valid examples of them, and how it may say no."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from facenet_core.errors import FacenetError

from .mutations import mutated

_BLOCK = 100  # inputs that hypothesis draws at a time


@dataclass(frozen=True)
class Target:
    """A reader of untrusted bytes.

    Attributes:
        name: as the table shows it.
        read: given the bytes and an empty folder of its own, the only one in which it may write.
            It returns where the input is accepted, and raises AssertionError where something
            accepted breaks a promise.
        seeds: valid inputs, made by this project's writers or the format's own.
        weight: its part of all inputs.
        refusals: how it may say no.
        text: whether the seeds are text.
        drawn: also inputs that hypothesis draws, of the format's own words; half of all.
        packed: undoes and renews a compression, so that mutations reach what is inside.
        seconds: after so many an input hangs.
        network: whether it may connect to this machine.
    """

    name: str
    read: Callable[[bytes, Path], object]
    seeds: Callable[[], Sequence[bytes]]
    weight: float = 1.0
    refusals: tuple[type[Exception], ...] = (FacenetError,)
    text: bool = False
    drawn: Callable[[], SearchStrategy[bytes]] | None = None
    packed: Callable[[bytes, Random], bytes] | None = None
    seconds: float = 10.0
    network: bool = False

    def make(self, start: int, number: int) -> bytes:
        """Input `number` of the campaign with the seed `start`; the first ones are valid."""
        seeds = _seeds(self)
        if number < len(seeds):
            return seeds[number]
        if self.drawn is not None and number % 2:
            block = _draw(self, start, number // 2 // _BLOCK)
            return block[number // 2 % len(block)]
        random = Random(f"{start}/{self.name}/{number}")
        data = mutated(seeds, random, text=self.text)
        return data if self.packed is None else self.packed(data, random)


@cache
def _seeds(target: Target) -> tuple[bytes, ...]:
    return tuple(target.seeds())


@cache
def _draw(target: Target, start: int, block: int) -> list[bytes]:
    assert target.drawn is not None
    results: list[bytes] = []

    @seed(int.from_bytes(hashlib.sha256(f"{start}/{target.name}/{block}".encode()).digest()[:8]))
    @settings(
        max_examples=_BLOCK,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.drawn())
    def collect(data: bytes) -> None:
        results.append(data)

    collect()
    return results
