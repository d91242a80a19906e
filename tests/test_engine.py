"""The engine's noise is dropped and everything else reaches the terminal."""

import os

import pytest

from facenet_core.engine import quietly

NOISE = b"I0000 port.cc:153] oneDNN custom operations are on. You may see slightly different\n"


def test_only_noise_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with quietly():
        os.write(2, NOISE)
        os.write(2, b"E0000 out of memory\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "E0000 out of memory\nafter\n"


def test_what_was_written_before_an_exception_is_not_lost(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError), quietly():
        os.write(2, b"E0000 why\n")
        raise RuntimeError
    assert capfd.readouterr().err == "E0000 why\n"
