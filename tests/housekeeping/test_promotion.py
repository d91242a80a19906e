"""Gates, promotion, and the names that stand for the newest artifact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.housekeeping import promotion
from facenet_core.housekeeping.promotion import GateFailed, enforce, gate_result, resolve
from facenet_core.storage import Input, Plan


def model(root: str, seed: int, finished: str) -> str:
    """A finished model artifact; returns its URI."""
    plan = storage.plan_stage(root, "train", "casia", {"seed": seed}, [], 1)
    return _publish(plan, finished)


def report(root: str, model_uri: str, accuracy: float, gate: float | None) -> str:
    manifest = storage.read_manifest(model_uri)
    inputs = [Input("crops", "c" * 16), Input(model_uri, manifest.fingerprint)]
    plan = storage.plan_stage(root, "validate", "casia", {"min_accuracy": gate}, inputs, 1)
    result = gate_result(accuracy, gate)
    return _publish(plan, "2026-01-01", promoted=result.promoted, why=result.why)


def _publish(plan: Plan, finished: str, **details: object) -> str:
    storage.publish(plan, storage.Outcome([], {}, details), {"finished": finished})
    return plan.uri


def latest(root: str) -> dict:
    return json.loads(Path(root, "models/casia/latest.json").read_text())


def test_a_model_that_reaches_the_gate_is_published_whole(root: str) -> None:
    uri = model(root, 1, "2026-01-01")
    enforce(root, report(root, uri, 0.99, 0.98))
    assert latest(root)["fingerprint"] == Path(uri).name
    assert latest(root)["why"] == "accuracy 0.9900 reaches min_accuracy 0.98"
    assert resolve(root, "promoted:casia", "train") == uri
    assert not list(Path(root).rglob("*.tmp"))


def test_a_model_below_the_gate_fails_and_leaves_the_promoted_one(root: str) -> None:
    good, bad = model(root, 1, "2026-01-01"), model(root, 2, "2026-01-02")
    enforce(root, report(root, good, 0.99, 0.98))
    with pytest.raises(GateFailed, match=r"accuracy 0\.9000 is below min_accuracy 0\.98"):
        enforce(root, report(root, bad, 0.9, 0.98))
    assert resolve(root, "promoted:casia", "train") == good


def test_without_a_gate_nothing_is_promoted(root: str) -> None:
    uri = model(root, 1, "2026-01-01")
    report_uri = report(root, uri, 0.99, None)
    enforce(root, report_uri)
    assert storage.read_manifest(report_uri).details["promoted"] is False
    with pytest.raises(ArtifactError, match="no model of this name was promoted"):
        resolve(root, "promoted:casia", "train")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_promoted_model_is_the_one_finished_last_whatever_was_validated_last(
    root: str, order: tuple[int, int]
) -> None:
    models = [model(root, 1, "2026-01-01"), model(root, 2, "2026-01-02")]
    for number in order:
        enforce(root, report(root, models[number], 0.99, 0.98))
    assert resolve(root, "promoted:casia", "train") == models[1]


def test_newest_is_by_the_time_of_finishing_and_only_among_the_finished(root: str) -> None:
    newest = model(root, 1, "2026-03-01")
    model(root, 2, "2026-02-01")
    unfinished = storage.plan_stage(root, "train", "casia", {"seed": 3}, [], 1)
    storage.write_bytes(storage.join(unfinished.uri, storage.RUN), b'{"finished": "2027-01-01"}')
    assert resolve(root, "newest:casia", "train") == newest


def test_nothing_of_that_name(root: str) -> None:
    with pytest.raises(
        ArtifactError, match=r"nothing finished in .*models/lfw; run `facenet train`"
    ):
        resolve(root, "newest:lfw", "train")


@pytest.mark.parametrize("uri", ["s3://bucket/models/x/0123", "people.tgz", "lfw"])
def test_anything_else_is_left_as_it_is(root: str, uri: str) -> None:
    assert resolve(root, uri, "train") == uri


def test_a_model_from_elsewhere_is_judged_and_not_published(root: str, tmp_path: Path) -> None:
    uri = model(str(tmp_path / "other"), 1, "2026-01-01")
    assert enforce(root, report(root, uri, 0.99, 0.98)) is None
    assert not Path(root, "models").exists()


def test_the_gates_edge_is_inside() -> None:
    assert gate_result(0.98, 0.98).promoted
    assert not promotion.gate_result(0.98 - 1e-9, 0.98).promoted
