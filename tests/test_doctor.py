"""`facenet doctor` says what a run would stumble over."""

from __future__ import annotations

import json

import pytest

from flows.cli import main


def findings(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict]]:
    status = main(["doctor", "--json", *words])
    found = json.loads(capsys.readouterr().out)
    return status, {finding["what"]: finding for finding in found}


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def test_a_machine_that_has_all_it_needs(capsys: pytest.CaptureFixture[str], root: str) -> None:
    status, found = findings(capsys, "--storage", root)
    assert status == 0
    assert {finding["state"] for finding in found.values()} <= {"ok", "note"}
    assert root in found["storage"]["found"]
    assert "keras" in found["packages"]["found"]


def test_what_does_not_answer_or_cannot_be_written_is_named_with_the_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    file = tmp_path / "file"
    file.touch()
    status, found = findings(
        capsys, "--storage", f"{file}/below", "--dask-address", "tcp://127.0.0.1:9"
    )
    assert status == 1
    failed = {name for name, finding in found.items() if finding["state"] == "failed"}
    assert failed == {"storage", "Prefect", "Dask"}
    assert "prefect server start" in found["Prefect"]["remedy"]
    assert "dask scheduler" in found["Dask"]["remedy"]
