"""What the Prefect UI shows of an alignment."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from facenet_core import storage


def shown(key: str) -> Any:
    """The data of the newest artifact of this key."""
    named = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=named)[0].data


def test_a_table_of_what_became_of_the_photographs_and_a_contact_sheet(undisturbed: Path) -> None:
    (crops,) = undisturbed.glob("crops/tiny/*")
    counts = storage.open_artifact(str(crops), "align").counts
    table = json.loads(shown("align-tiny-outcome"))
    assert table[0] == {
        "outcome": "aligned",
        "photographs": str(counts["aligned"]),
        "share": f"{counts['aligned'] / counts['images']:.2%}",
    }
    assert sum(int(row["photographs"]) for row in table) == counts["images"]
    (picture,) = re.findall(r"data:image/png;base64,([\w+/=]+)", shown("align-tiny-crops"))
    assert base64.b64decode(picture) == (crops / "crops.png").read_bytes()
