"""The stage audit within the pipeline, with everything in a bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.audit.stage import FINDINGS, KEEP, REPORT
from facenet_core.storage import parquet
from tests.support.tiny import facenet


@pytest.mark.slow
def test_a_pipeline_in_a_bucket_audits_before_it_trains_and_goes_on_from_there(
    undisturbed: Path, tiny_config: Path, bucket: str
) -> None:
    (model,) = undisturbed.glob("models/tiny/*")
    words = ["run", "--config", tiny_config, "--storage", bucket, "--set", f"audit.model={model}"]
    words += ["--set", "train.drop=[duplicate]"]  # of what so small a model sees
    status, output, errors = facenet(*words, "--json")
    assert status == 0, errors
    artifacts = json.loads(output)["artifacts"]
    audit = storage.open_artifact(artifacts["audit"], "audit")
    assert audit.uri.startswith(f"{bucket}/audits/tiny/")
    assert {part.name for part in audit.parts} == {FINDINGS, KEEP, REPORT}
    kept, findings = (parquet.read_table(audit.file_uri(name)) for name in (KEEP, FINDINGS))
    trained = storage.open_artifact(artifacts["model"], "train")
    assert trained.config["audit"] == audit.fingerprint
    images = trained.counts["training_images"] + trained.counts["dropped_images"]
    assert images == audit.counts["images"]
    assert len(kept) + len({*findings["image_id"].to_pylist()}) == audit.counts["images"]
    status, output, errors = facenet(*words, "--json")
    assert status == 0, errors
    assert json.loads(output)["artifacts"] == artifacts
