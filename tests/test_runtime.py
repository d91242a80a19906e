"""The engine's noise is dropped and everything else reaches the terminal; Keras comes alone."""

import os
import subprocess
import sys

import pytest

from facenet_core.runtime import quietly

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


def test_keras_does_not_bring_what_is_not_used_through_it() -> None:
    program = """
import sys
from facenet_core.runtime import keras_alone
import matplotlib
with keras_alone():
    import keras
assert "sklearn" not in sys.modules
assert sys.modules["matplotlib"] is matplotlib  # was there before
from sklearn.metrics import roc_curve  # may come later
"""
    subprocess.run([sys.executable, "-c", program], check=True)
