"""A report from an artifact of embeddings is that from their crops, and embeds nothing again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.errors import ConfigError
from facenet_core.evaluation import stage
from facenet_core.storage import Artifact
from tests.support.embedding import embedded
from tests.support.small_artifacts import publish_model

GENERATED: dict[str, Any] = {"pairs": "generate", "lfw_nrof_folds": 3, "pairs_per_fold": 4}


@pytest.fixture(scope="module")
def embeddings(store: str, crops_uri: str, model_uri: str) -> Artifact:
    settings: dict[str, Any] = {"precision": "float32", "use_flipped_images": True}
    return embedded(store, crops_uri, model_uri, **settings)


def report(root: str, crops: str, model: str, made: Artifact | None, **config: Any) -> Any:
    settings = ValidateConfig(**config)
    plan = stage.plan_validate(root, crops, model, settings, made)
    manifest = stage.finish(plan, stage.validate(plan, settings), {})
    content = json.loads(storage.read_bytes(storage.join(plan.uri, "metrics.json")))
    return plan, manifest, content


def flat(value: Any, path: str = "") -> dict[str, float]:
    """The numbers in JSON, by where they stand."""
    if isinstance(value, int | float):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value or ())
    if isinstance(value, str):
        return {}
    return {k: n for key, each in items for k, n in flat(each, f"{path}/{key}").items()}


@pytest.mark.parametrize(
    "config",
    [
        GENERATED | {"identification": True},
        GENERATED | {"use_flipped_images": True, "distance_metric": "cosine"},
        {"pairs": "file", "lfw_nrof_folds": 3},
    ],
)
def test_the_report_is_that_made_from_crops(
    root: str, crops_uri: str, model_uri: str, pairs_file: str, embeddings: Artifact,
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any],
) -> None:  # fmt: skip
    config = {**config, "pairs": pairs_file if config["pairs"] == "file" else "generate"}
    _, _, expected = report(root, crops_uri, model_uri, None, **config)

    def refuse(*arguments: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(stage, "open_runtime", refuse)
    plan, manifest, metrics = report(root, crops_uri, model_uri, embeddings, **config)
    assert flat(metrics) == pytest.approx(flat(expected), abs=1e-4)
    assert [source.uri for source in plan.inputs] == [crops_uri, model_uri, embeddings.uri]
    page = storage.read_bytes(storage.join(plan.uri, "report.html")).decode()
    assert f"facenet validate {embeddings.fingerprint} " in page
    assert manifest.details["promoted"] is False


def test_embeddings_of_another_model_are_refused(
    root: str, crops_uri: str, embeddings: Artifact
) -> None:
    other = publish_model(root, "other", bias=0.5)
    with pytest.raises(ConfigError, match=f"{embeddings.uri}: embedded with the model"):
        stage.plan_validate(root, crops_uri, other, ValidateConfig(**GENERATED), embeddings)


def test_mirrored_images_have_to_be_among_them(root: str, crops_uri: str, model_uri: str) -> None:
    plain = embedded(root, crops_uri, model_uri)
    config = ValidateConfig(**GENERATED, use_flipped_images=True)
    with pytest.raises(ConfigError, match="holds no embeddings of mirrored images"):
        stage.plan_validate(root, crops_uri, model_uri, config, plain)
