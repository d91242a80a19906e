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
    status, by_name = findings("--storage", root, PREFECT_API_URL="")
    assert status == 0
    assert {finding["state"] for finding in by_name.values()} <= {"ok", "note"}
    assert root in by_name["storage"]["found"]
    assert not Path(root).parent.exists()  # nothing is left of the look
    assert "keras" in by_name["packages"]["found"]


def test_what_does_not_answer_or_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    nowhere = "127.0.0.1:9"
    status, by_name = findings(
        "--storage",
        file / "below",
        "--dask-address",
        f"tcp://{nowhere}",
        PREFECT_API_URL=f"http://{nowhere}/api",
    )
    assert status == 1
    failed = {name for name, finding in by_name.items() if finding["state"] == "failed"}
    assert failed == {"storage", "Prefect", "Dask"}
    assert "prefect server start" in by_name["Prefect"]["remedy"]
    assert "dask scheduler" in by_name["Dask"]["remedy"]
