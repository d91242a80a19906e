"""What is missing is named with the extra that brings it."""

from __future__ import annotations

import pytest

from facenet_core import extras


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that are installed, as far as `extras` can see."""
    names: set[str] = set()
    monkeypatch.setattr(extras, "installed", names.__contains__)
    return names


@pytest.mark.parametrize(
    ("installed", "engine", "runtime"),
    [
        ({"openvino", "tensorflow"}, "auto", "openvino"),
        ({"tensorflow"}, "auto", "tensorflow"),
        ({"openvino", "tensorflow"}, "tensorflow", "tensorflow"),
    ],
)
def test_the_detector_runs_on_openvino_where_that_is_installed(
    installed: set[str], engine: str, runtime: str, packages: set[str]
) -> None:
    packages.update(installed)
    assert extras.detector_runtime(engine) == runtime


@pytest.mark.parametrize(
    ("engine", "extra"), [("auto", "use"), ("openvino", "use"), ("tensorflow", "cpu")]
)
def test_a_runtime_that_is_missing_is_named_with_its_extra(
    engine: str, extra: str, packages: set[str]
) -> None:
    with pytest.raises(extras.MissingPackage, match=rf"facenet-pipeline\[{extra}\]"):
        extras.detector_runtime(engine)


def test_keras_needs_a_backend(packages: set[str]) -> None:
    packages.add("keras")
    with pytest.raises(extras.MissingPackage, match=r"^Training needs Keras .*\[cpu\]"):
        extras.require_keras("Training")
    packages.add("jax")
    extras.require_keras("Training")
