"""A few hostile inputs for every parser that needs no engine, in this process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from facenet_core.datasets import rows
from facenet_core.errors import ConfigError
from facenet_core.text.printable import printable
from qa.fuzz import worker
from qa.fuzz.campaign import share
from qa.fuzz.guard import Watch
from qa.fuzz.target import Target
from qa.fuzz.targets import TARGETS, models, network

INPUTS = 20
LIGHT = [t for t in TARGETS if t not in (*models.TARGETS, *network.TARGETS)]


@pytest.mark.parametrize("target", LIGHT, ids=lambda target: target.name)
def test_hostile_inputs_are_accepted_or_refused(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(INPUTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            target.read(target.make(0, number), folder)
        except target.refusals:
            continue


def test_an_input_depends_on_its_number_and_the_seed_alone() -> None:
    (pairs,) = (target for target in TARGETS if target.name == "pairs")
    assert [pairs.make(1, n) for n in (17, 30)] == [pairs.make(1, n) for n in (30, 17)][::-1]
    assert [pairs.make(1, n) for n in range(10, 20)] != [pairs.make(2, n) for n in range(10, 20)]


def test_shares_add_up() -> None:
    assert sum(share(TARGETS, 100_000).values()) == 100_000


class Ends(Exception):
    pass


@pytest.mark.parametrize("misdeed", ["hang", "outside", "crash", "refused", "accepted"])
def test_the_guard_tells_what_an_input_does(tmp_path: Path, misdeed: str) -> None:
    def read(data: bytes, folder: Path) -> None:
        if misdeed == "hang":
            while True:
                pass
        if misdeed == "outside":
            with contextlib.suppress(OSError):  # as libraries do
                (tmp_path / "elsewhere").write_bytes(data)
        if misdeed == "crash":
            raise IndexError
        if misdeed == "refused":
            raise Ends

    (folder := tmp_path / "own").mkdir()
    target = Target("any", read, lambda: [b"x"], refusals=(Ends,), seconds=0.05)
    assert worker.read(target, b"x", folder, Watch((folder,), False))[0] == misdeed
    assert not (tmp_path / "elsewhere").exists()


def test_a_search_for_an_identity_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_PATTERN_SECONDS", 0.1)
    pattern = rows.compile_identity_pattern("^(([a-z])+.)+[A-Z]([a-z])+$")
    with pytest.raises(ConfigError, match=r"identity_pattern: .* takes more than 0\.1 s"):
        rows.identity_of("a" * 4000, "nobody", pattern)


def test_characters_of_control_do_not_reach_a_terminal() -> None:
    assert printable("Ann\x1b[2J\u202e\x9b.jpg\tZoë\n") == "Ann\\x1b[2J\\u202e\\x9b.jpg\tZoë\n"
