"""`facenet doctor` says what a run would stumble over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.tiny import facenet


def findings(*words: object, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    status, output, _ = facenet("doctor", "--json", *words, **environment)
    return status, {finding["what"]: finding for finding in json.loads(output)}


def test_a_machine_that_has_all_it_needs(root: str) -> None:
    root += "/below/deeper"
    status, found = findings("--storage", root, PREFECT_API_URL="")
    assert status == 0
    assert {finding["state"] for finding in found.values()} <= {"ok", "note"}
    assert root in found["storage"]["found"]
    assert not Path(root).parent.exists()  # nothing is left of the look
    assert "keras" in found["packages"]["found"]


def test_what_does_not_answer_or_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    nowhere = "127.0.0.1:9"
    status, found = findings(
        "--storage",
        file / "below",
        "--dask-address",
        f"tcp://{nowhere}",
        PREFECT_API_URL=f"http://{nowhere}/api",
    )
    assert status == 1
    failed = {name for name, finding in found.items() if finding["state"] == "failed"}
    assert failed == {"storage", "Prefect", "Dask"}
    assert "prefect server start" in found["Prefect"]["remedy"]
    assert "dask scheduler" in found["Dask"]["remedy"]
